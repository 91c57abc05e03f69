"""How long the command takes, and how well it does: the demo, and two real sets.

    python benchmarks/bench_pipeline.py demo
    python benchmarks/bench_pipeline.py fruits18     # with DDETR_DATA, a folder that holds the set
    python benchmarks/bench_pipeline.py bccd

Each runs what a user would type, in an empty folder, one command after the other, and keeps the
wall time of every command and the scores that the last evaluation wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
SPECS = ROOT / "docs" / "specs"
FIGURES = ("AP", "AP50", "AP75", "AR100")


def main() -> None:
    """Run one pipeline and write benchmarks/results/pipeline_NAME.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=PIPELINES)
    name = parser.parse_args().name
    with tempfile.TemporaryDirectory(prefix="ddetr-bench-") as folder:
        report = PIPELINES[name](Path(folder))
    report["machine"] = describe_machine("torch", "ddetr-cli")
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"pipeline_{name}.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def run_demo(folder: Path) -> dict[str, Any]:
    """The whole of `ddetr demo`; PyTorch's scores beside those of the ONNX file."""
    seconds = run(folder, "demo", "--folder", folder / "demo")
    results = folder / "demo" / "results"
    return {
        "seconds": {"demo": seconds},
        "pytorch": scores(results / "evaluate"),
        "onnx": scores(results / "evaluate_onnx"),
    }


def run_fruits18(folder: Path) -> dict[str, Any]:
    """Sixteen photographs learnt by heart from random weights, scored on the same sixteen."""
    data = real_set("fruits18")
    source = {
        "image_dir": str(data / "images" / "train"),
        "json_file": str(data / "annotations" / "instances_train.json"),
    }
    spec = shutil.copy(SPECS / "fruits18_overfit.yaml", folder)
    sources = f"dataset.train_data_sources={json.dumps([source])}"
    seconds = {task: run(folder, task, "-e", spec, sources) for task in ("train", "evaluate")}
    return {"seconds": seconds, "pytorch": scores(folder / "results" / "fruits18" / "evaluate")}


def run_bccd(folder: Path) -> dict[str, Any]:
    """One short epoch of blood cells, then every other subtask on what it left."""
    data = real_set("bccd")
    text = (SPECS / "bccd_one_epoch.yaml").read_text("utf-8").replace("/data/bccd", str(data))
    spec = folder / "bccd_one_epoch.yaml"
    spec.write_text(text, encoding="utf-8")
    tasks = ("train", "evaluate", "inference", "export")
    seconds = {task: run(folder, task, "-e", spec) for task in tasks}
    results = folder / "results" / "bccd"
    return {
        "seconds": seconds,
        "pytorch": scores(results / "evaluate"),
        "annotated_images": len(list((results / "inference" / "images_annotated").iterdir())),
    }


def real_set(name: str) -> Path:
    """Find a set of real images below the folder that DDETR_DATA names."""
    folder = Path(os.environ.get("DDETR_DATA", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        sys.exit(f"{folder} is not there: set DDETR_DATA to the folder that holds {name}")
    return folder


def run(folder: Path, *words: str | Path) -> float:
    """Run one ddetr command to its end; its wall time in seconds."""
    command: Sequence[str] = [sys.executable, "-m", "ddetr_cli", *map(str, words)]
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    return round(time.monotonic() - start, 1)


def scores(folder: Path) -> dict[str, float]:
    """Read the figures that an evaluation wrote."""
    overall = json.loads((folder / "results.json").read_text("utf-8"))["overall"]
    return {name: round(overall[name], 4) for name in FIGURES}


PIPELINES = {"demo": run_demo, "fruits18": run_fruits18, "bccd": run_bccd}

if __name__ == "__main__":
    main()
