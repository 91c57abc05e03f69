"""What 16 bits cost in accuracy on real images: one checkpoint, scored in each precision.

    python benchmarks/bench_precision.py --run DIR

DIR is the results_dir of a training by docs/specs/bccd_from_scratch.yaml. Runs `ddetr evaluate` on
the test photographs of blood cells, which training never saw, once in each precision that this
machine has, and keeps the scores and the wall seconds of the whole command. DDETR_DATA names the
folder that holds the set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench_bccd_from_scratch import write_spec
from bench_pipeline import RESULTS, run, scores
from machine import describe_machine

PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Score in every precision and write results/precision.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="results_dir of a training")
    results = parser.parse_args().run.resolve()
    status = (results / "train" / "status.json").read_text("utf-8").splitlines()
    report: dict[str, Any] = {
        "set": "bccd, test",
        "trained_epochs": 1 + max(json.loads(line).get("epoch") or 0 for line in status),
        "precisions": {},
    }
    with tempfile.TemporaryDirectory(prefix="ddetr-bench-") as folder:
        spec = write_spec(Path(folder))
        checkpoint = f"evaluate.checkpoint={results / 'train' / 'dd_model_best.pth'}"
        for precision in PRECISIONS:
            keys = (f"results_dir={folder}/{precision}", f"evaluate.precision={precision}")
            seconds = run(Path(folder), "evaluate", "-e", spec, checkpoint, *keys)
            found = scores(Path(folder, precision, "evaluate"))
            report["precisions"][precision] = {**found, "command_seconds": seconds}
    report["machine"] = describe_machine("torch", "ddetr-cli")
    text = json.dumps(report, indent=2) + "\n"
    (RESULTS / "precision.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
