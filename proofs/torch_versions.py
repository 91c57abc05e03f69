"""ddetr-ops under several versions of PyTorch: one wheel, its own tests, an environment each.

pip must find nothing to replace there: the wheel takes the torch that a user has.

    python -m proofs.torch_versions [--slice]

The environments are those of scripts/check_ops_wheel.py; the slice tests the kernels under the
PyTorch that is installed.
"""

from __future__ import annotations

import re
import shutil
import sys

from proofs.ops_wheel_steps import SUMMARY, failure_of, run_here, run_step
from proofs.record import MissingToolError, Proof, run_proof

STEPS = ("torch-2.6", "torch-2.9", "torch-2.13", "torch")
VERSION = re.compile(r"^(\d+\.\d+\.\d+\S*) ", re.MULTILINE)


def prove(proof: Proof) -> None:
    """Run the steps, or the self-test alone."""
    if proof.is_slice:
        self_test(proof)
        return
    if shutil.which("uv") is None:
        raise MissingToolError("uv is not on the PATH; `make proof-torch` puts it there")
    for step in STEPS:
        check_step(proof, step)


def self_test(proof: Proof) -> None:
    """Test the kernels here, as `python -m ddetr_ops` does."""
    proof.tried.append("python -m ddetr_ops")
    ran = run_here(sys.executable, "-m", "ddetr_ops")
    proof.require(ran.returncode == 0, "self-test", f"exit status {ran.returncode}: {ran.stderr}")


def check_step(proof: Proof, step: str) -> None:
    """Build the wheel and run its tests under one PyTorch."""
    ran = run_step(proof, step)
    if "pip would install ddetr-ops alone" in ran.stdout:
        proof.passed("pip replaces no torch")
    version, summary = VERSION.search(ran.stdout), SUMMARY.search(ran.stdout)
    name = f"torch {version[1]}" if version else step
    if ran.returncode == 0 and summary:
        proof.passed(f"{name}: tests", int(summary[1]))
    else:
        proof.failed(name, failure_of(ran))
    proof.figures[name] = summary[0].strip("= ") if summary else "no tests ran"


if __name__ == "__main__":
    run_proof("torch", "ddetr-ops under several versions of PyTorch.", prove)
