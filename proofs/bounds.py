"""The bounds of what the packages require: their own tests at the lowest and the newest versions.

    python -m proofs.bounds [--slice] [--only CASE]

`lowest` takes the lowest version that a manifest allows of each requirement, tools of the tests
among them, and the lowest published version of each sibling; `highest` takes the newest of all.
Published is what release tags hold; of a package without a tag it is this checkout. ddetr-ops has
proof-torch. The environment of `make test` is compared with the newest versions for its Python.

What passed is kept in build/bounds under a digest of all that can change it: the versions, the
package with its tests, the siblings. So a proof that was cut short goes on, and at a later commit
runs only what has changed. The record says of each case what `digest_of` says of the package. The
slice compares the manifests with the record: a bound that nobody tried is named.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from proofs.record import ROOT, MissingToolError, Proof, run_proof
from scripts.wheelhouse import (
    build_checkout,
    build_published,
    digest_of,
    find_versions,
    links,
    make_environment,
    package_of,
    run,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECORD = ROOT / "proofs" / "results" / "bounds.json"
KEPT = ROOT / "build" / "bounds"
WHEELS = KEPT / "wheels"
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
SUMMARY = re.compile(r"^((?:\d+ failed, )?(\d+) passed.*?)(?: in [\d.]+s.*)?$", re.MULTILINE)
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
    # A shell lets what runs in its background ignore Ctrl+C, which some of the tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    published = build_published(WHEELS)
    for case in CASES:
        if proof.only in ("", str(case)):
            proof.tried.append(str(case))
            with tempfile.TemporaryDirectory(prefix="ddetr-bounds-") as name:
                try_case(proof, case, published, Path(name))
    if not proof.only:
        compare_with_newest(proof, published)
        proof.figures["requirements"] = {package: requirements(package) for package in EXTRAS}


def try_case(proof: Proof, case: Case, published: list[Path], folder: Path) -> None:
    """Find versions, and run the tests with them unless they have passed like this before."""
    python = make_environment(folder / "venv", interpreter(case.python))
    resolved = resolve(case, python, folder, published)
    if resolved.returncode:
        proof.failed(str(case), f"nothing fits: {resolved.stdout[-1000:]}")
        return
    kept = KEPT / f"{str(case).replace('/', '-')}-{digest(case, resolved.stdout, published)}.json"
    if not kept.is_file():
        found = run_case(case, python, resolved.stdout, published, folder)
        if found["failed"]:
            proof.failed(str(case), "; ".join(found["failed"]))
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    found = json.loads(kept.read_text())
    proof.passed(f"{case.resolution}: tests", found["passed"])
    shown = ("python", "tests", "passed alone", "seconds", "versions")
    proof.figures[str(case)] = {
        "sources": digest_of(case.package, with_tests=True),
        **{key: found[key] for key in shown},
    }


def digest(case: Case, resolved: str, published: list[Path]) -> str:
    """Name all that can change what the tests of a case say."""
    asked = set(re.findall(r"^ddetr-[a-z]+", resolved, re.MULTILINE))
    options = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    parts = [
        resolved,
        digest_of(case.package, with_tests=True),
        # The folder of a wheel has the name of its tag, or of what was in the checkout.
        sorted(wheel.parent.name for wheel in published if package_of(wheel) in asked),
        options,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


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


def compare_with_newest(proof: Proof, published: list[Path]) -> None:
    """Tell which of its requirements the environment of `make test` has in an older version."""
    python = ".".join(map(str, sys.version_info[:2]))
    older: dict[str, str] = {}
    for package in EXTRAS:
        proof.tried.append(f"highest/{package}/{python}, versions alone")
        case = Case(package, "highest", python)
        with tempfile.TemporaryDirectory(prefix="ddetr-bounds-") as name:
            resolved = resolve(case, Path(sys.executable), Path(name), published)
        if resolved.returncode:
            proof.failed(str(case), f"nothing fits: {resolved.stdout[-1000:]}")
            continue
        for requirement, newest in versions_of(package, resolved.stdout):
            if (here := installed_version(requirement)) != newest:
                older[requirement] = f"{here}, and {newest} is the newest"
        proof.passed("highest: versions of `make test` compared")
    proof.figures["environment of make test"] = {"python": python, "not the newest": older}


def installed_version(name: str) -> str:
    """Give the version of a distribution in this environment, or say that it has none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def interpreter(python: str) -> str:
    """Find a Python that is installed."""
    found = run("uv", "python", "find", "--no-python-downloads", python, shown_at_end=True)
    if found.returncode:
        raise MissingToolError(f"Python {python} is not on the PATH")
    return found.stdout.strip()


def run_case(
    case: Case, python: Path, resolved: str, published: list[Path], folder: Path
) -> dict[str, Any]:
    """Install what was found and the package itself, and run its tests."""
    start = time.monotonic()
    found = folder / "requirements.txt"
    found.write_text(resolved)
    wheel = f"{case.package} @ {build_checkout(case.package, WHEELS).as_uri()}"
    install = ("uv", "pip", "install", "--quiet", "--python", python, *links(published))
    installed = run(*install, "--requirements", found, wheel, shown_at_end=True)
    if installed.returncode:
        return {"failed": [f"cannot be installed: {installed.stdout[-1000:]}"]}
    rounds = list(run_tests(case.package, python, folder / "alone"))
    return outcome([ran.stdout for ran in rounds], rounds[-1].returncode) | {
        "python": case.python,
        "seconds": round(time.monotonic() - start),
        "versions": dict(versions_of(case.package, resolved)),
    }


def outcome(rounds: list[str], status: int) -> dict[str, Any]:
    """Read what tests wrote in a first and perhaps a second round, and how the last one ended."""
    failed = [FAILED.findall(text) for text in rounds]
    if status and not failed[-1]:
        failed[-1] = [f"exit status {status}: {rounds[-1][-1000:]}"]
    summaries = [found for text in rounds for found in SUMMARY.findall(text)[-1:]]
    return {
        "failed": failed[-1],
        "passed": sum(int(count) for _, count in summaries),
        "tests": "; then ".join(text for text, _ in summaries),
        "passed alone": [] if failed[-1] else failed[0],
    }


def resolve(
    case: Case, python: Path, folder: Path, published: list[Path]
) -> subprocess.CompletedProcess[str]:
    """Let uv find versions of all that the manifest, its extras and the tests require."""
    manifest = folder_of(case.package) / "pyproject.toml"
    extras = [word for extra in EXTRAS[case.package] for word in ("--extra", extra)]
    beside = folder / "beside.in"
    beside.write_text(BESIDE.get(case.package, ""))
    wanted = (manifest, beside, *extras, "--group", f"{manifest}:test")
    return find_versions(case.resolution, python, published, *wanted)


def run_tests(
    package: str, python: Path, folder: Path
) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run the quick tests of a package where its sources are not; what fails, once more alone.

    `make test` does so too: a machine may be too busy for a test that has a time limit.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder_of(package) / "tests", folder / "tests")
    shutil.copy(folder_of(package) / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    command = (python, "-m", "pytest", "-q", "-m", "not slow", "tests")
    ran = run(*command, cwd=folder, shown_at_end=True)
    yield ran
    if ran.returncode:
        sys.stderr.write(ran.stdout)
        again = ("--last-failed", "--last-failed-no-failures", "none")
        yield run(*command, *again, cwd=folder, shown_at_end=True)


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
