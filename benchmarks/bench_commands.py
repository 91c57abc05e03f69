"""How long a person waits for the first word of a command: its help, and what is wrong with a spec.

    python benchmarks/bench_commands.py [--runs 15]

Wall seconds of whole processes, medians; the commands take turns. `python -c pass` is the least
that any command in Python takes. Files are in the page cache, compiled modules are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "commands.json"
SPECS = {
    "unknown_key.yaml": "model:\n  num_querys: 300\n",
    "wrong_value.yaml": "model:\n  num_queries: many\n",
    "no_yaml.yaml": "model: [\n",
    "missing_file.yaml": "dataset: {train_data_sources: {image_dir: ., json_file: no.json}}\n",
}
# What an installer compiles once is kept here too, whatever the shell says of it.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
DDETR = [sys.executable, "-m", "ddetr_cli"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "ddetr --help": [*DDETR, "--help"],
    "ddetr train --help": [*DDETR, "train", "--help"],
    **{f"ddetr train, {Path(name).stem}": [*DDETR, "train", "-e", name] for name in SPECS},
}


def main() -> None:
    """Measure all of them and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SPECS.items():
            Path(folder, name).write_text(text, "utf-8")
        for run in range(options.runs + 1):
            for name in random.sample(list(COMMANDS), len(COMMANDS)):
                spent = measure(COMMANDS[name], folder)
                if run:  # the first may have compiled modules
                    seconds[name].append(spent)
    report = {
        "machine": describe_machine("ddetr-cli"),
        "load_average": os.getloadavg()[0],
        "runs": options.runs,
        "median_seconds": {
            name: round(statistics.median(all_), 3) for name, all_ in seconds.items()
        },
    }
    options.results.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def measure(command: list[str], folder: str) -> float:
    """Seconds of one process; SystemExit where it ends as it should not."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    spent = time.perf_counter() - start
    expected = 2 if "-e" in command else 0
    if done.returncode != expected:
        sys.exit(f"bench_commands: {command} ended with status {done.returncode}: {done.stderr}")
    return spent


if __name__ == "__main__":
    main()
