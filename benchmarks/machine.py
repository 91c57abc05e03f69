"""What a figure belongs to: the machine and the versions it was taken with."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe_machine", "status_kib"]


def describe_machine(*distributions: str) -> dict[str, str | int]:
    """Name processor, cores in use, Python, the given distributions' versions, and the day."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in distributions},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def status_kib(name: str) -> int:
    """Give a figure of this process's memory: VmRSS is what it holds, VmHWM the most it held."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _processor() -> str:
    """Name the processor; family and model tell apart those that a virtual machine names alike."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor()
    lines = listing.read_text("utf-8").split("\n\n")[0].splitlines()
    facts = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if "model name" not in facts:
        return platform.processor()
    return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"
