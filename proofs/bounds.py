"""The bounds of what the packages require: their own tests at the lowest and the newest versions.

    python -m proofs.bounds [--slice] [--only CASE]

`lowest` takes the lowest version that a manifest allows of each requirement, tools of the tests
among them, and the lowest published version of each sibling; `newest` takes the newest of all.
Published is what release tags hold; of a package without a tag it is this checkout. What passed at
this commit is kept in build/bounds, so that a proof that was cut short goes on. ddetr-ops has
proof-torch. The slice compares the manifests with the record: a bound that nobody tried is named.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from proofs.record import ROOT, MissingToolError, Proof, run_proof
from scripts.wheelhouse import build_published, build_wheel, make_environment, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECORD = ROOT / "proofs" / "results" / "bounds.json"
KEPT = ROOT / "build" / "bounds"
# The extras whose bounds the package's own tests try.
EXTRAS = {
    "ddetr-data": ("crypto", "fast-scoring", "remote", "torch", "video", "yaml"),
    "ddetr-model": ("timm",),
    "ddetr-train": ("mlflow", "tensorboard", "video", "wandb"),
    "ddetr-export": ("crypto", "openvino", "serve", "torch"),
    "ddetr-cli": (),
}
# What the manifests leave to siblings: its newest would bring the torch of its own release, and
# exporting is tried with a network of timm's.
BESIDE = {
    "ddetr-export": "torchvision>=0.26\ntimm>=1.0.16\n",
    "ddetr-cli": "torchvision>=0.26\n",
}
SUMMARY = re.compile(r"^=*\s*(\d+ passed[^=\n]*?)(?: in [\d.:s ()]+)?\s*=*$", re.MULTILINE)
FAILED = re.compile(r"^(?:FAILED|ERROR) (.*)$", re.MULTILINE)


class Case(NamedTuple):
    """One package in one environment."""

    package: str
    resolution: str  # as uv calls it
    python: str

    def __str__(self) -> str:
        return f"{self.resolution.partition('-')[0]}/{self.package}/{self.python}"


CASES = (
    *(Case(package, "lowest-direct", "3.10") for package in EXTRAS),
    *(Case("ddetr-data", "highest", python) for python in ("3.12", "3.13")),
)


def prove(proof: Proof) -> None:
    """Run each case, or compare the manifests with the record."""
    if proof.is_slice:
        compare_with_record(proof)
        return
    if shutil.which("uv") is None:
        raise MissingToolError("uv is not on the PATH; `make proof-bounds` puts it there")
    with tempfile.TemporaryDirectory(prefix="ddetr-bounds-") as name:
        published: list[Path] = []
        for case in CASES:
            if proof.only not in ("", str(case)):
                continue
            proof.tried.append(str(case))
            kept = KEPT / f"{proof.commit}-{str(case).replace('/', '-')}.json"
            if not kept.is_file():
                published = published or build_published(Path(name) / "published")
                found = try_case(case, published, Path(name))
                if found["failed"]:
                    proof.failed(str(case), "; ".join(found["failed"]))
                    continue
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(found))
            found = json.loads(kept.read_text())
            proof.passed(f"{case.resolution}: tests", found["passed"])
            proof.figures[str(case)] = {
                key: found[key] for key in ("python", "tests", "seconds", "versions")
            }
    proof.figures["requirements"] = {package: requirements(package) for package in EXTRAS}


def compare_with_record(proof: Proof) -> None:
    """Look whether each requirement is one that was tried, and met by what was tried."""
    tried = json.loads(RECORD.read_text("utf-8"))["figures"]["requirements"]
    for package in EXTRAS:
        proof.tried.append(package)
        stated = requirements(package)
        new = [line for line in stated if line not in tried[package]]
        proof.require(not new, f"{package}: bounds on record", f"not tried: {', '.join(new)}")


def requirements(package: str) -> list[str]:
    """What a manifest requires of others, siblings aside, with the extras that are tried."""
    project = tomllib.loads((folder_of(package) / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in EXTRAS[package]:
        lines += project["optional-dependencies"][extra]
    return sorted({line for line in lines if not line.startswith("ddetr-")})


def try_case(case: Case, published: list[Path], folder: Path) -> dict[str, Any]:
    """Make the environment and run the package's tests in it."""
    start = time.monotonic()
    there = run("uv", "python", "find", "--no-python-downloads", case.python, shown_at_end=True)
    if there.returncode:
        raise MissingToolError(f"Python {case.python} is not on the PATH")
    python = make_environment(folder / "venv", case.python)
    links = [word for wheel in published for word in ("--find-links", wheel.parent)]
    resolved = resolve(case, python, folder, links)
    if resolved.returncode:
        return {"failed": [f"nothing fits: {resolved.stdout[-1000:]}"]}
    found = folder / "requirements.txt"
    found.write_text(resolved.stdout)
    wheel = f"{case.package} @ {own_wheel(case.package, folder).as_uri()}"
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    run(*install, *links, "--requirements", found, wheel)
    ran = run_tests(case.package, python, folder / "alone")
    shutil.rmtree(folder / "venv")
    summary, failed = SUMMARY.findall(ran.stdout), FAILED.findall(ran.stdout)
    if ran.returncode and not failed:
        failed = [f"exit status {ran.returncode}: {ran.stdout[-1000:]}"]
    return {
        "failed": failed,
        "passed": int(summary[-1].split()[0]) if summary else 0,
        "python": case.python,
        "tests": summary[-1] if summary else "none",
        "seconds": round(time.monotonic() - start),
        "versions": dict(versions_of(case.package, resolved.stdout)),
    }


def resolve(case: Case, python: Path, folder: Path, links: list[object]) -> Any:
    """Let uv find versions of all that the manifest, its extras and the tests require."""
    manifest = folder_of(case.package) / "pyproject.toml"
    extras = [word for extra in EXTRAS[case.package] for word in ("--extra", extra)]
    beside = folder / "beside.in"
    beside.write_text(BESIDE.get(case.package, ""))
    shape = ("--quiet", "--no-header", "--no-annotate", "--python", python)
    wanted = (manifest, beside, *extras, "--group", f"{manifest}:test")
    return run(
        *("uv", "pip", "compile", *shape, "--resolution", case.resolution, *links, *wanted),
        shown_at_end=True,
    )


def own_wheel(package: str, folder: Path) -> Path:
    """The wheel under test, of this checkout, built once."""
    dist = folder / "own" / package
    return next(dist.glob("*.whl"), None) or build_wheel(package, dist)


def run_tests(package: str, python: Path, folder: Path) -> Any:
    """Run the quick tests of a package where its sources are not."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder_of(package) / "tests", folder / "tests")
    shutil.copy(folder_of(package) / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow")
    return run(python, "-m", "pytest", *options, "tests", cwd=folder, shown_at_end=True)


def versions_of(package: str, resolved: str) -> Iterator[tuple[str, str]]:
    """Which version of each requirement was taken."""
    found = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", resolved, re.MULTILINE))
    for line in requirements(package):
        name = re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0]
        if name in found:
            yield name, found[name]


def folder_of(package: str) -> Path:
    """Where a package's manifest, README and tests are."""
    return ROOT / "packages" / package


if __name__ == "__main__":
    run_proof("bounds", "The packages' own tests at the bounds of what they require.", prove)
