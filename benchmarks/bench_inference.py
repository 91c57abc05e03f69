"""Labelling of images: how near `inference` comes to what the cores can do, beside a stand-in.

    python benchmarks/bench_inference.py [--images 120] [--rounds 3]

The detector reads nothing and waits 5 ms an image, as for a GPU; all else is real: JPEGs of
1920 x 1080 pixels are read, resized, normalised and padded, ten boxes are drawn, and label file and
annotated JPEG are written. One core's work divided by the cores is the least time that it can take,
so "wall_over_cpu" is the wall time by the CPU seconds over the cores; 1 is the best that there is.
Each way runs in a process of its own, in turns; the round with the least wall time counts. "before"
is dataset.workers=0, the caller's thread alone. Peak memory is of the process, with half of the
images and with all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from PIL import Image

from ddetr_data import Category, Detections, ImageLike
from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, Prepared, label, prepared_batches
from ddetr_data.images import PreprocessConfig, pad_batch, preprocess, save_image
from ddetr_data.parallel import available_cores

RESULTS = Path(__file__).parent / "results" / "inference.json"
SIZE_WH = (1920, 1080)
NETWORK_SECONDS = 0.005  # an image
BOXES = 10
PREPROCESS = PreprocessConfig()
BATCH_SIZES = (1, 8)
NOISE = 8  # of 255, either way: what makes a JPEG as large as a camera's


class StandIn(Detector):
    """Prepares images as others do, then waits as long as a network would take."""

    categories = (Category(1, "car"), Category(2, "person"))
    preprocess_config = PREPROCESS

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 1000, (BOXES, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 400, (BOXES, 2))], axis=1)
        scores = np.linspace(0.9, 0.6, BOXES, dtype=np.float32)
        self._found = Detections(boxes.astype(np.float32), scores, np.arange(BOXES) % 2 + 1)

    def prepare(self, images: Sequence[ImageLike]) -> Prepared:
        """Resize, normalise and pad."""
        return Prepared(images, pad_batch([preprocess(each, PREPROCESS) for each in images]))

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Find the same in all images."""
        for batch in prepared_batches(images, self.batch_size, self.prepare):
            time.sleep(NETWORK_SECONDS * len(batch))
        return [self._found] * len(images)


def main() -> None:
    """Measure both ways for each batch size, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    cores = available_cores()
    ways = {"before": 0, "pipeline": cores}
    report: dict[str, Any] = {"images": options.images, "rounds": options.rounds}
    report["network_milliseconds"] = 1000 * NETWORK_SECONDS
    with tempfile.TemporaryDirectory() as root:
        make_images(Path(root, "in"), options.images)
        for size in BATCH_SIZES:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, workers in ways.items():
                    found[name].append(in_fresh_process(Path(root), size, workers))
            best = {name: min(each, key=lambda run: run["wall"]) for name, each in found.items()}
            report[f"batch_{size}"] = {
                name: figures(run, options.images, cores) for name, run in best.items()
            }
            print(size, json.dumps(report[f"batch_{size}"], indent=1), flush=True)
    report["machine"] = describe_machine("numpy", "pillow")
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def make_images(folder: Path, count: int) -> None:
    """Write soft shapes with a camera's noise, of different sizes in bytes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (9 + number % 60, 16 + number % 60, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize(SIZE_WH, Image.Resampling.BICUBIC)
        noise = rng.integers(-NOISE, NOISE + 1, (SIZE_WH[1], SIZE_WH[0], 3), dtype=np.int16)
        pixels = np.clip(np.asarray(soft, np.int16) + noise, 0, 255).astype(np.uint8)
        save_image(Image.fromarray(pixels), folder / f"{number:04d}.jpg")


def in_fresh_process(root: Path, batch_size: int, workers: int) -> dict[str, float]:
    """Label the images in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, root, batch_size, workers).result()


def measure(root: Path, batch_size: int, workers: int) -> dict[str, float]:
    """Seconds of wall and CPU, and peak memory in MiB half way and at the end."""
    source = InferSource(image_dir=str(root / "in"))
    dataset = DatasetConfig(infer_data_sources=source, workers=workers)
    peaks: list[float] = []

    def watch(_: object) -> None:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    wall, cpu = time.perf_counter(), time.process_time()
    label(StandIn(batch_size), dataset, InferenceConfig(), root / "out", observers=[watch])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "half": peaks[len(peaks) // 2], "end": peaks[-1]}


def figures(run: dict[str, float], images: int, cores: int) -> dict[str, float]:
    """What a run comes to, an image and a second."""
    return {
        "images_per_second": round(images / run["wall"], 1),
        "wall_seconds": round(run["wall"], 2),
        "cpu_seconds": round(run["cpu"], 2),
        "cpu_milliseconds_per_image": round(1000 * run["cpu"] / images, 1),
        "wall_over_cpu": round(run["wall"] * cores / run["cpu"], 2),
        "peak_mib_half_way": round(run["half"]),
        "peak_mib": round(run["end"]),
    }


if __name__ == "__main__":
    main()
