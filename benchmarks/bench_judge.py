"""COCO scores of many detections: what our commands call, beside pycocotools itself.

    python benchmarks/bench_judge.py [--images 5000] [--processes 3]

The set is made from a seed: 80 classes, 7.4 objects an image as in COCO, 100 detections an image,
of which a part lies on objects. Both have read the same ground truth and hold the same detections:
pycocotools as rows of its results format, ours as a detector gives them, image after image. Both
end with the twelve figures, which must be equal to the last bit. Each process measures both, in an
order that is drawn; the figures are medians over the processes. All is work of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from ddetr_data.coco import detections_from_coco, detections_to_coco, load_sources
from ddetr_data.config import DataSource
from ddetr_data.scoring import CocoScorer, choose_judge
from ddetr_data.types import Detections

RESULTS = Path(__file__).parent / "results" / "judge.json"
CLASSES, OBJECTS_PER_IMAGE, DETECTIONS_PER_IMAGE = 80, 7.4, 100
IMAGE_WH = (640, 480)
THEIRS, OURS = "pycocotools", "ddetr_data"


def main() -> None:
    """Measure in processes of their own, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        sys.stdout.write(json.dumps(measure(options.images)) + "\n")
        return
    runs = []
    for _ in range(options.processes):
        command = [sys.executable, __file__, "--once", "--images", str(options.images)]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    seconds = {
        name: statistics.median(run["seconds"][name] for run in runs) for name in runs[0]["seconds"]
    }
    report = {
        "machine": describe_machine("ddetr-data", "pycocotools", "faster-coco-eval", "numpy"),
        "load_average": os.getloadavg()[0],
        "images": options.images,
        "detections": options.images * DETECTIONS_PER_IMAGE,
        "processes": options.processes,
        "judge_of_ours": choose_judge("auto"),
        "seconds": {name: round(each, 2) for name, each in seconds.items()},
        "times_as_fast": round(seconds[THEIRS] / seconds[OURS], 2),
        "figures": runs[0]["figures"],
    }
    options.results.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def measure(images: int) -> dict[str, Any]:
    """Seconds of both and the twelve figures; SystemExit where these are not equal."""
    truth, results = make_set(images)
    found = detections_from_coco(results)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "truth.json")
        path.write_text(json.dumps(truth), "utf-8")
        ways = {THEIRS: score_with_pycocotools, OURS: score_with_ours}
        seconds, figures = {}, {}
        for name in random.sample(list(ways), len(ways)):
            ready = ways[name](path, found)
            start = time.perf_counter()
            figures[name] = ready()
            seconds[name] = time.perf_counter() - start
    if figures[THEIRS] != figures[OURS]:
        sys.exit(f"bench_judge: the figures differ: {figures}")
    return {"seconds": seconds, "figures": figures[OURS]}


def score_with_pycocotools(
    path: Path, found: Mapping[int, Detections]
) -> Callable[[], list[float]]:
    """Load the ground truth and write the rows; what is timed is COCO's own script on them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
    rows = [row for id, each in found.items() for row in detections_to_coco(id, each)]

    def run() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            judge = COCOeval(truth, truth.loadRes(rows), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return [float(each) for each in judge.stats]

    return run


def score_with_ours(path: Path, found: Mapping[int, Detections]) -> Callable[[], list[float]]:
    """Load the ground truth; what is timed is what evaluate and train's validation call."""
    source = DataSource(image_dir=path.parent, json_file=str(path))
    detection_set = load_sources([source], num_classes=None)

    def run() -> list[float]:
        scorer = CocoScorer(detection_set)
        for image_id, detections in found.items():
            scorer.add(image_id, detections)
        return list(scorer.score().overall.values())

    return run


def make_set(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO ground truth and results: three of four objects are met, the others are guesses."""
    rng = np.random.default_rng(0)
    width, height = IMAGE_WH
    rows = [
        {"id": id, "file_name": f"{id}.jpg", "width": width, "height": height}
        for id in range(1, images + 1)
    ]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id in range(1, images + 1):
        count = int(rng.poisson(OBJECTS_PER_IMAGE))
        boxes = draw_boxes(rng, count)
        labels = rng.integers(1, CLASSES + 1, count)
        annotations += [
            {"id": len(annotations) + number, "image_id": image_id, "category_id": int(label)}
            | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for number, (box, label) in enumerate(zip(boxes.tolist(), labels, strict=True), 1)
        ]
        met = rng.permutation(count)[: count * 3 // 4]
        near = np.maximum(boxes[met] + rng.normal(0, 4, (len(met), 4)).round(2), 1)
        guesses = draw_boxes(rng, DETECTIONS_PER_IMAGE - len(met))
        found_boxes = np.concatenate([near, guesses])
        found_labels = np.concatenate([labels[met], rng.integers(1, CLASSES + 1, len(guesses))])
        scores = np.concatenate([rng.uniform(0.3, 1, len(met)), rng.uniform(0, 0.6, len(guesses))])
        results += [
            {"image_id": image_id, "category_id": int(label), "bbox": box, "score": score}
            for label, box, score in zip(
                found_labels, found_boxes.tolist(), scores.round(4).tolist(), strict=True
            )
        ]
    categories = [{"id": id, "name": f"class {id}"} for id in range(1, CLASSES + 1)]
    return {"images": rows, "annotations": annotations, "categories": categories}, results


def draw_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) xywh in pixels, of all three of COCO's sizes, inside the image."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(IMAGE_WH) - sides)
    return np.concatenate([corners, sides], axis=1).round(2)


if __name__ == "__main__":
    main()
