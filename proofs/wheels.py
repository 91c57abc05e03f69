"""ddetr-ops' Linux wheels: what each needs of a machine, and its tests under each Python.

    python -m proofs.wheels [--slice] [--only STEP]

The wheels and environments are those of scripts/check_ops_wheel.py; the slice looks at the library
that is installed. Pythons and systems that a release has wheels for and that did not run here stand
in the record under `unrun`.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from proofs.ops_wheel_steps import SUMMARY, failure_of, run_step
from proofs.record import MissingToolError, Proof, run_proof
from scripts.ops_wheels import GLIBC, needs_of

import ddetr_ops

STEPS = ("python-3.10", "python-3.11", "python-3.12", "python-3.13", "aarch64", "pure")
UNRUN = ("Python 3.14", "Python 3.14, free-threaded", "macOS", "the manylinux_2_28 image itself")
# The C library and the dynamic linker; OpenMP's runtime, CUDA's and that of C++ are not asked for.
SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread)\.so\.\d+|ld-linux-(x86-64|aarch64)\.so\.\d+")
FACTS = re.compile(r"^facts: (.*)$", re.MULTILINE)
SELF_TEST = re.compile(r"cpu: agrees with .*")


def prove(proof: Proof) -> None:
    """Build and test the wheels, or look at the installed library alone."""
    if proof.is_slice:
        check_installed(proof)
        return
    if shutil.which("uv") is None:
        raise MissingToolError("uv is not on the PATH; `make proof-wheels` puts it there")
    for step in STEPS:
        if proof.only in ("", step):
            check_step(proof, step)
    proof.figures["unrun"] = list(UNRUN)


def check_installed(proof: Proof) -> None:
    """The library here asks for nothing but the system's C library, as a release's does."""
    libraries = list(Path(ddetr_ops.__file__).parent.glob("_core.*.so"))
    proof.tried.append("what the installed library is linked to")
    if not libraries:
        proof.passed("no native part is installed")
        return
    if shutil.which("readelf") is None:
        raise MissingToolError("readelf is not installed; on Debian: apt-get install binutils")
    needed, _ = needs_of(*libraries)
    foreign = [name for name in needed if not SYSTEM.fullmatch(name)]
    proof.require(not foreign, "installed library", f"it is linked to {foreign}")


def check_step(proof: Proof, step: str) -> None:
    """Run one step, and hold the wheels that it built against what a release promises."""
    ran = run_step(proof, step)
    if ran.returncode:
        proof.failed(step, failure_of(ran))
    for count in SUMMARY.findall(ran.stdout):
        proof.passed(f"{step}: tests", int(count))
    for line in FACTS.findall(ran.stdout):
        check_facts(proof, json.loads(line))
    said = [match[0] for match in SELF_TEST.finditer(ran.stdout)]
    said += [match[0] for match in SUMMARY.finditer(ran.stdout)]
    if tested := ran.stdout.count("agrees with the reference"):
        proof.passed(f"{step}: self-tests", tested)
    proof.figures[step] = "; ".join(it.strip("= ") for it in said) or "built, no tests ran"


def check_facts(proof: Proof, facts: dict) -> None:
    """One library, symbols of glibc up to GLIBC, and nothing else to be there."""
    name = facts["name"]
    proof.figures[name] = {key: value for key, value in facts.items() if key != "name"}
    newest = facts["newest_symbols"]
    foreign = [it for it in facts["needed"] if not SYSTEM.fullmatch(it)]
    proof.require(
        _version(newest["GLIBC"]) <= _version(GLIBC), "glibc symbols", f"{name}: {newest}"
    )
    proof.require(not foreign, "libraries asked for", f"{name}: {foreign}")
    proof.require(len(facts["libraries"]) == 1, "libraries inside", f"{name}: {facts['libraries']}")
    tags = re.findall(r"manylinux_(\d+)_(\d+)_", name)
    oldest = min((tuple(map(int, tag)) for tag in tags), default=(99,))
    proof.require(oldest <= _version(GLIBC), "tag", f"{name} is not tagged for glibc {GLIBC}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


if __name__ == "__main__":
    run_proof("wheels", "ddetr-ops' Linux wheels: what they need, and their tests.", prove)
