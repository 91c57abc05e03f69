"""How time and memory grow: with pixels, batch, queries, levels, workers and labels.

    python benchmarks/bench_growth.py [--threads 1] [--rows NAME ...]

Each point is measured in a process of its own: the median seconds of a few runs behind one that is
left out, and the most memory that the process took beyond what it held before its first run, when
what was free has been given back. The exponent of a row is the slope of a straight line through the
logarithms: 1 is linear. Models are ResNet-50 with random weights; inference is the inference form
in float32, a step is forward, matching, losses and backward as `ddetr train` computes them. Labels
are opened as training opens them, from one COCO JSON with 7.5 boxes an image and without its store.
Draws results/growth.png.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_store import BOXES_PER_IMAGE, IMAGE_SIZE_WH, in_fresh_process, write_shard
from machine import describe_machine, status_kib

RESULTS = Path(__file__).parent / "results"
LABELS = "labels.json"
Run = Callable[[], Any]


def infer(height: int = 480, width: int = 640, batch: int = 1, **config: Any) -> Run:
    """One forward pass of the inference form."""
    import torch

    from ddetr_model import DeformableDETR, ModelConfig, inference_form

    torch.manual_seed(0)
    form = inference_form(DeformableDETR(ModelConfig(**config)).eval())
    images = torch.randn(batch, 3, height, width)

    def run() -> None:
        with torch.inference_mode():
            form(images)

    return run


def step(height: int = 320, width: int = 320, batch: int = 1, **config: Any) -> Run:
    """One training step without an optimiser, three objects an image."""
    import torch

    from ddetr_model import DeformableDETR, ModelConfig, SetCriterion, use_fast_layers

    torch.manual_seed(0)
    model = DeformableDETR(ModelConfig(**config)).train()
    use_fast_layers(model)
    criterion = SetCriterion(model.losses)
    images = torch.randn(batch, 3, height, width)
    target = {"boxes": torch.rand(3, 4) * 0.4 + 0.1, "labels": torch.tensor([1, 2, 3])}

    def run() -> None:
        model.zero_grad()
        criterion.total_loss(criterion(model(images), [target] * batch)).backward()

    return run


def load_with_workers(workers: int) -> Run:
    """Decode and transform 64 images of 640x480 in so many workers, batches of four."""
    from PIL import Image
    from torch.utils.data import DataLoader

    from ddetr_data.coco import load_sources
    from ddetr_data.config import AugmentationConfig, DataSource
    from ddetr_data.torch import DetectionDataset, TrainTransform, collate

    folder = labels_in_new_folder(64)
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).resize(IMAGE_SIZE_WH).save(folder / "image.png")
    source = DataSource(image_dir=folder, json_file=str(folder / LABELS))
    dataset = DetectionDataset(
        load_sources([source], num_classes=None), TrainTransform(AugmentationConfig())
    )
    return lambda: list(DataLoader(dataset, 4, num_workers=workers, collate_fn=collate))


def open_labels(images: int) -> Run:
    """Read one COCO JSON with so many images."""
    from ddetr_data.coco import load_sources
    from ddetr_data.config import DataSource

    folder = labels_in_new_folder(images)
    source = DataSource(image_dir=folder, json_file=str(folder / LABELS))
    return lambda: load_sources([source], num_classes=None)


def labels_in_new_folder(images: int) -> Path:
    """Write them in another process, whose memory is gone before anything is measured."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["GROWTH_FOLDER"]))
    in_fresh_process(write_labels, folder / LABELS, images)
    return folder


def write_labels(path: Path, images: int) -> dict[str, int]:
    """One COCO JSON of so many images; gives their number."""
    rng = np.random.default_rng(0)
    write_shard(path, np.arange(1, images + 1), rng.poisson(BOXES_PER_IMAGE, images), 0, rng)
    return {"images": images}


@dataclass(frozen=True)
class Row:
    """One quantity that grows, and what is run at each of its values."""

    quantity: str
    values: tuple[int, ...]
    make: Callable[[int], Run]
    runs: int = 3


LEVELS = {1: (3,), 2: (1, 2), 3: (1, 2, 3), 4: (1, 2, 3, 4)}


def at_levels(make: Callable[..., Run], levels: int) -> Run:
    return make(num_feature_levels=levels, return_interm_indices=LEVELS[levels])


ROWS: Mapping[str, Row] = {
    "inference over pixels": Row(
        "pixels of a square image",
        (256**2, 384**2, 512**2, 768**2, 1024**2),
        lambda pixels: infer(height=round(pixels**0.5), width=round(pixels**0.5)),
    ),
    "inference over batch": Row(
        "images of 320x320", (1, 2, 4, 8), lambda batch: infer(320, 320, batch)
    ),
    "inference over queries": Row(
        "queries", (100, 300, 900, 2700), lambda count: infer(num_queries=count)
    ),
    "inference over levels": Row("levels", tuple(LEVELS), partial(at_levels, infer)),
    "step over pixels": Row(
        "pixels of a square image",
        (256**2, 384**2, 512**2, 768**2),
        lambda pixels: step(height=round(pixels**0.5), width=round(pixels**0.5)),
    ),
    "step over batch": Row("images of 320x320", (1, 2, 4), lambda batch: step(batch=batch)),
    "step over queries": Row(
        "queries", (100, 300, 900, 2700), lambda count: step(num_queries=count)
    ),
    "step over levels": Row("levels", tuple(LEVELS), partial(at_levels, step)),
    "loading over workers": Row("workers", (1, 2, 4, 8), load_with_workers),
    "labels over images": Row(
        "images", (20_000, 60_000, 200_000, 600_000, 2_000_000), open_labels, runs=1
    ),
}


def main() -> None:
    """Measure every point in its process, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--results", type=Path, default=RESULTS / "growth.json")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        name, value = options.point
        sys.stdout.write(json.dumps(measure(ROWS[name], int(value), options.threads)) + "\n")
        return
    kept = (
        json.loads(options.results.read_text("utf-8"))["rows"] if options.results.exists() else {}
    )
    with tempfile.TemporaryDirectory(prefix="ddetr-growth-") as folder:
        for name in options.rows:
            kept[name] = measure_row(name, folder, options)
            sys.stdout.write(f"{name}: {json.dumps(kept[name])}\n")
            sys.stdout.flush()
    report = {
        "machine": describe_machine("torch", "ddetr-model", "ddetr-data"),
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "rows": kept,
    }
    options.results.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    draw(kept, options.results.with_suffix(".png"))


def measure_row(name: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """All points of a row and the exponents of their growth."""
    row = ROWS[name]
    points = []
    for value in row.values:
        command = [sys.executable, __file__, "--threads", str(options.threads)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(options.threads),
            "GROWTH_FOLDER": folder,
        }
        done = subprocess.run(
            [*command, "--point", name, str(value)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
        )
        if done.returncode:
            sys.exit(f"bench_growth: {name} at {value} ended with status {done.returncode}")
        points.append(json.loads(done.stdout.splitlines()[-1]))
    seconds, mebibytes = ([point[kind] for point in points] for kind in ("seconds", "mib"))
    return {
        "quantity": row.quantity,
        "values": list(row.values),
        "seconds": seconds,
        "mib": mebibytes,
        "exponent_of_seconds": exponent(row.values, seconds),
        "exponent_of_mib": exponent(row.values, mebibytes),
    }


def exponent(values: tuple[int, ...], measured: list[float]) -> float:
    """The slope of the logarithms' straight line."""
    return round(float(np.polyfit(np.log(values), np.log(np.maximum(measured, 1e-3)), 1)[0]), 2)


def measure(row: Row, value: int, threads: int) -> dict[str, float]:
    """Median seconds, and the MiB that the runs add at their peak."""
    import torch

    torch.set_num_threads(threads)
    run = row.make(value)
    # What making it has freed would hide a part of what the runs take.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status_kib("VmRSS")
    times = []
    for _ in range(row.runs + (row.runs > 1)):
        start = time.perf_counter()
        kept = run()
        times.append(time.perf_counter() - start)
        del kept
    peak = status_kib("VmHWM") - before
    times = times[1:] or times
    return {"seconds": round(statistics.median(times), 4), "mib": round(peak / 1024, 1)}


def draw(rows: Mapping[str, Any], path: Path) -> None:
    """Two pictures a row, time and memory, both axes logarithmic, linear growth dotted."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 2, figsize=(9, 2.6 * len(rows)), squeeze=False)
    for (name, row), pair in zip(rows.items(), axes, strict=True):
        for axis, kind, unit in zip(pair, ("seconds", "mib"), ("seconds", "MiB"), strict=True):
            values, measured = np.array(row["values"]), np.array(row[kind])
            axis.loglog(values, measured, "o-")
            axis.loglog(values, measured[-1] * values / values[-1], ":", color="grey")
            axis.set_title(f"{name}: exponent {row[f'exponent_of_{kind}']}", fontsize=9)
            axis.set_xlabel(row["quantity"], fontsize=8)
            axis.set_ylabel(unit, fontsize=8)
            axis.tick_params(labelsize=7, which="both")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
