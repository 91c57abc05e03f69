"""Weigh what `pip install` of each package brings: megabytes, distributions, time to import.

    python -m benchmarks.bench_weight [--commit COMMIT --name NAME]

Each package is built, and installed alone into a fresh environment with the newest of all that it
requires. Counted are files that belong to distributions which torch and torchvision do not bring
by themselves; a package that requires no torch bears the whole of it. The import is that of the
package alone, in fresh processes, less the start of Python and, for ddetr-ops, less `import torch`.
uv must be on the PATH. With --commit an older state is weighed; figures of other names are kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from scripts.wheelhouse import (
    PACKAGES,
    ROOT,
    build_wheel,
    git,
    make_environment,
    pinned,
    run,
    unpacked,
)

WEIGHED = (
    "ddetr-ops",
    "ddetr-data",
    "ddetr-model",
    "ddetr-train",
    "ddetr-export",
    "ddetr-export[torch]",
    "ddetr-cli",
)
REPEATS = 9
RESULT = ROOT / "benchmarks" / "results" / "weight.json"
# What each distribution takes on the disk, and what it and each of its extras requires.
DISTRIBUTIONS = """
import json
from importlib.metadata import distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
found = {}
for each in distributions():
    sizes = [file.locate().stat().st_size for file in each.files or () if file.locate().is_file()]
    required = [Requirement(line) for line in each.requires or ()]
    extras = ["", *(each.metadata.get_all("Provides-Extra") or ())]
    needed = {extra: [(canonicalize_name(it.name), ["", *it.extras]) for it in required
                      if it.marker is None or it.marker.evaluate({"extra": extra})]
              for extra in extras}
    found[canonicalize_name(each.metadata["Name"])] = [sum(sizes), needed]
print(json.dumps(found))
"""
TIMED = """
import time
{first}
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def main() -> None:
    """Weigh every package and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commit", help="what to weigh instead of this checkout")
    parser.add_argument("--name", default="now", help="under which name of the JSON")
    options = parser.parse_args()
    commit = git("rev-parse", "--short", options.commit or "HEAD").decode().strip()
    source = unpacked(commit) if options.commit else nullcontext(ROOT)
    with source as tree, tempfile.TemporaryDirectory(prefix="ddetr-weight-") as name:
        figures = weigh_all(tree, Path(name))
    report: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    report["machine"] = describe_machine()
    report[options.name] = {"commit": commit, "packages": figures}
    RESULT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def weigh_all(tree: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Give the figures of each package, by what is installed."""
    wheels = {package: build_wheel(package, folder / package, tree) for package in PACKAGES}
    figures = {}
    for wanted in WEIGHED:
        figures[wanted] = weigh(wanted, wheels, folder)
        print(wanted, figures[wanted], flush=True)
    return figures


def weigh(wanted: str, wheels: Mapping[str, Path], folder: Path) -> dict[str, float]:
    """Install one package as its user would, and count."""
    package = wanted.partition("[")[0]
    environment = folder / "venv"
    python = make_environment(environment)
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    pins = pinned(wheels.values(), folder)
    run(*install, "--constraint", pins, f"{wanted} @ {wheels[package].as_uri()}")
    seconds = import_seconds(python, package.replace("-", "_"))
    had_packaging = (next(environment.glob("lib/*/site-packages")) / "packaging").exists()
    if not had_packaging:
        run(*install, "packaging")  # for the count alone
    found = json.loads(run(python, "-c", DISTRIBUTIONS, shown_at_end=True).stdout)
    shutil.rmtree(environment)
    left_out = brought_by({"torch", "torchvision"} & found.keys(), found)
    left_out |= set() if had_packaging else {"packaging"}
    counted = {name: size for name, (size, _) in found.items() if name not in left_out}
    return {
        "megabytes": round(sum(counted.values()) / 1e6, 1),
        "distributions": len(counted),
        "import_ms": round(1e3 * seconds, 1),
    }


def brought_by(roots: set[str], found: Mapping[str, Any]) -> set[str]:
    """The distributions that come with these, themselves included."""
    brought: set[tuple[str, str]] = set()
    waiting = {(root, "") for root in roots}
    while waiting:
        name, extra = waiting.pop()
        brought.add((name, extra))
        for needed, extras in found[name][1].get(extra, ()):
            if needed in found:
                waiting |= {(needed, each) for each in extras} - brought
    return {name for name, _ in brought}


def import_seconds(python: Path, module: str) -> float:
    """The median time of the import, without the first that fills the disk's caches."""
    code = TIMED.format(first="import torch" if module == "ddetr_ops" else "", module=module)
    runs = [float(run(python, "-c", code, shown_at_end=True).stdout) for _ in range(REPEATS + 1)]
    return statistics.median(runs[1:])


if __name__ == "__main__":
    main()
