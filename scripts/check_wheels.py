"""Build every wheel, install each alone in a clean environment, run its own tests there.

    python scripts/check_wheels.py [PACKAGE ...]

A wheel that leans on a dependency it does not declare, on a file that was not packed, or on a
sibling's source tree fails here. uv links the big downloads from its cache, so that an
environment with torch costs a second and hardly any disk. Two packages are tested at a time,
each with one thread; what took longest comes first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ddetr-ops", "ddetr-model", "ddetr-export", "ddetr-train", "ddetr-cli", "ddetr-data")
AT_A_TIME = 2


def main() -> None:
    """Check the packages named on the command line, or all six."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE")
    chosen = parser.parse_args().packages
    with (
        tempfile.TemporaryDirectory(prefix="ddetr-wheels-") as folder,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        dist = Path(folder) / "dist"
        built = pool.map(lambda package: build_wheel(package, dist / package), PACKAGES)
        wheels = dict(zip(PACKAGES, built, strict=True))
        passed = list(
            pool.map(lambda package: check_alone(package, wheels, Path(folder) / package), chosen)
        )
    if not all(passed):
        sys.exit("wheels: not every package passes its tests alone; see above")
    print(f"wheels: {len(chosen)} packages install and pass their tests alone")


def build_wheel(package: str, dist: Path) -> Path:
    """Build a package's sdist and from it the wheel; give the wheel."""
    start = time.monotonic()
    run("uv", "build", "--quiet", "--out-dir", dist, ROOT / "packages" / package)
    (wheel,) = dist.glob("*.whl")
    print(f"built {wheel.name} in {time.monotonic() - start:.0f} s", flush=True)
    return wheel


def check_alone(package: str, wheels: dict[str, Path], folder: Path) -> bool:
    """Install one wheel, what it declares (siblings from their wheels) and run its tests."""
    start = time.monotonic()
    python = folder / "venv" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    pins = folder / "siblings.txt"
    pins.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()))
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--constraint", pins)
    tools = f"{ROOT / 'packages' / package / 'pyproject.toml'}:test"
    run(*install, wheels[package], "--group", tools)
    tests = folder / "tests"
    shutil.copytree(ROOT / "packages" / package / "tests", tests)
    shutil.copy(ROOT / "packages" / package / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow")  # `make test` runs those too
    done = run(python, "-m", "pytest", *options, tests, cwd=folder, shown_at_end=True)
    seconds = time.monotonic() - start
    print(f"== {package}: its tests, alone, in {seconds:.0f} s\n{done.stdout}", flush=True)
    return done.returncode == 0


def run(
    *command: object, cwd: Path = ROOT, shown_at_end: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command without this environment's variables, so that it sees only its own packages.

    One whose output is shown at the end may fail; any other must not.
    """
    foreign = {
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HATCH_ENV_ACTIVE"),
        "PYTHONDONTWRITEBYTECODE",  # the tests start many processes of the same modules
    }
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    environment.setdefault("DDETR_DATA", str(ROOT.parent / "shared" / "data"))
    environment.setdefault("DDETR_OPS_CUDA", "0")  # setting up has compiled the CUDA kernels
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        check=not shown_at_end,
        encoding="utf-8",
        errors="backslashreplace",  # what a failed test shows may be any bytes
        stdout=subprocess.PIPE if shown_at_end else None,
        stderr=subprocess.STDOUT if shown_at_end else None,
    )


if __name__ == "__main__":
    main()
