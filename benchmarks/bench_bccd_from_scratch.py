"""How far an hour on a processor brings a detector of blood cells from random weights.

    python benchmarks/bench_bccd_from_scratch.py            # with DDETR_DATA: train, collect
    python benchmarks/bench_bccd_from_scratch.py --run DIR  # collect from a finished DIR/train

Runs docs/specs/bccd_from_scratch.yaml as a user would, reads the curve from the run's status.json
and scores the best checkpoint on the test images, which training never saw.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from bench_pipeline import RESULTS, SPECS, real_set, run
from machine import describe_machine

SPEC = "bccd_from_scratch.yaml"
CURVE = ("train_loss", "val_loss", "val_AP", "val_AP50")


def main() -> None:
    """Train unless a run is given, score it, and write results/bccd_from_scratch.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="results_dir of a finished training")
    given = parser.parse_args().run
    with tempfile.TemporaryDirectory(prefix="ddetr-bench-") as folder:
        spec = write_spec(Path(folder))
        results = given.resolve() if given else Path(folder) / "results" / "bccd_from_scratch"
        if given is None:
            run(Path(folder), "train", "-e", spec)
        run(Path(folder), "evaluate", "-e", spec, f"results_dir={results}")
        report = collect(results)
    report["machine"] = describe_machine("torch", "ddetr-cli")
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(report, indent=2) + "\n"
    (RESULTS / "bccd_from_scratch.json").write_text(text, encoding="utf-8")
    print(text, end="")


def write_spec(folder: Path) -> Path:
    """Write the recipe with the real folder in it."""
    spec = folder / SPEC
    text = (SPECS / SPEC).read_text("utf-8").replace("/data/bccd", str(real_set("bccd")))
    spec.write_text(text, encoding="utf-8")
    return spec


def collect(results: Path) -> dict[str, Any]:
    """Join the curve of the training and the scores of the evaluation."""
    status = (results / "train" / "status.json").read_text("utf-8")
    lines = [json.loads(line) for line in status.splitlines()]
    scores = json.loads((results / "evaluate" / "results.json").read_text("utf-8"))
    epochs = [line for line in lines if "train_loss" in line["kpi"] and line["epoch"] is not None]
    return {
        "ended": lines[-1]["status"],
        "minutes": round((moment(lines[-1]) - moment(lines[0])).total_seconds() / 60, 1),
        "epochs": len(epochs),
        "curve": [
            {"epoch": line["epoch"] + 1, "minutes": minutes_since(lines[0], line)}
            | {name: round(line["kpi"][name], 4) for name in CURVE}
            for line in epochs
            if "val_AP" in line["kpi"]
        ],
        "test": {name: round(value, 4) for name, value in scores["overall"].items()},
        "test_per_class": scores["per_class"],
    }


def minutes_since(first: dict[str, Any], line: dict[str, Any]) -> float:
    """Count the minutes between two lines of status.json."""
    return round((moment(line) - moment(first)).total_seconds() / 60, 1)


def moment(line: dict[str, Any]) -> datetime:
    """Read when a line of status.json was written."""
    return datetime.fromisoformat(f"{line['date']}T{line['time']}")


if __name__ == "__main__":
    main()
