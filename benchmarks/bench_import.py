"""Time what `import ddetr_ops` adds to `import torch`, in fresh processes, interleaved.

    python benchmarks/bench_import.py [--repeats N] [--output FILE]

Each round starts one process that imports torch alone and one that imports both; the second also
tells how long ddetr_ops takes once torch is there, which a busy machine disturbs least. The first
round fills the disk's caches and is left out. Exit status 1 if that median is above 0.1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import describe_machine

TIMED = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
{}
print(time.perf_counter() - start, time.perf_counter() - middle)
"""
MOST_SECONDS = 0.1
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, write the JSON and say whether the import is as short as promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, default=RESULTS / "import.json")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    times: dict[str, list[float]] = {"torch": [], "torch_and_ddetr_ops": [], "added": []}
    for _ in range(options.repeats + 1):
        alone, _ = import_seconds("")
        both, added = import_seconds("import ddetr_ops")
        for name, seconds in zip(times, (alone, both, added), strict=True):
            times[name].append(seconds)
    figures = {name: summary(seconds[1:]) for name, seconds in times.items()}
    report = {
        "machine": describe_machine("torch"),
        "load_average": {"before": load_before, "after": os.getloadavg()[0]},
        "repeats": options.repeats,
        "seconds": figures,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(f"{json.dumps(figures)}\n")
    if figures["added"]["median"] > MOST_SECONDS:
        sys.exit(f"bench_import: ddetr_ops adds more than {MOST_SECONDS} s")


def import_seconds(statement: str) -> tuple[float, float]:
    """Of everything, and of the statement that follows `import torch`."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    total, added = subprocess.check_output(command, text=True).split()
    return float(total), float(added)


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and minimum."""
    found = {"median": statistics.median(seconds), "min": min(seconds)}
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
