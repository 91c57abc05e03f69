"""What a figure belongs to: the machine and the versions it was taken with."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe_machine"]


def describe_machine(*distributions: str) -> dict[str, str | int]:
    """Name processor, cores in use, Python, the given distributions' versions, and the day."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text("utf-8").splitlines() if cpu.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in distributions},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
