"""Steps of scripts/check_ops_wheel.py, and what their tests said."""

from __future__ import annotations

import re
import subprocess
import sys

from proofs.record import ROOT, Proof

__all__ = ["SUMMARY", "failure_of", "run_here", "run_step"]

SUMMARY = re.compile(r"(\d+) passed.*")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.*)$", re.MULTILINE)
_SHOWN_CHARACTERS = 500  # of a failure that names no test


def run_step(proof: Proof, step: str) -> subprocess.CompletedProcess[str]:
    """Run one step; it may fail."""
    proof.tried.append(f"scripts/check_ops_wheel.py {step}")
    return run_here(sys.executable, "scripts/check_ops_wheel.py", step)


def failure_of(ran: subprocess.CompletedProcess[str]) -> str:
    """Say how a step ended: the tests that failed, or the last that it wrote."""
    failed = "; ".join(_FAILED.findall(ran.stdout))
    told = failed or (ran.stdout + ran.stderr)[-_SHOWN_CHARACTERS:]
    return f"exit status {ran.returncode}: {told}"


def run_here(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout's folder and keep what it writes."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
