"""How fast `ddetr_data.convert.conversion` reads KITTI labels: labelled images a second, per core.

    python benchmarks/bench_convert.py [--images 10000] [--objects 6] [--repeats 3]

The set is generated: small JPEG files (one in ten with an EXIF turn) and label files of a few
lines. Files are in the page cache, so the figure is the work of the processor, not of a disk.
One worker and all cores are measured by the clock; "cpu" figures count the process's own time, and
so suffer less from a busy machine. A run takes about a minute and 200 MB of disk under TMPDIR.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.formats import KittiObject, write_kitti
from ddetr_data.parallel import available_cores

RESULTS = Path(__file__).parent / "results" / "convert.json"
TARGET_IMAGES_PER_SECOND = 1500  # a core
IMAGE_SIZE_WH = (320, 240)


def main() -> None:
    """Generate a set, convert it with one and with all cores, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--objects", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    busy = round(os.getloadavg()[0], 2)  # of other work, before the runs
    with tempfile.TemporaryDirectory() as folder:
        make_set(Path(folder, "set"), options.images, options.objects)
        runs = [
            measure(Path(folder), workers, options.images, options.repeats)
            for workers in sorted({1, available_cores()})
        ]
    report = {
        "images": options.images,
        "objects_per_image": options.objects,
        "machine": {**describe_machine("pillow"), "load_average": busy},
        "target_images_per_second_per_core": TARGET_IMAGES_PER_SECOND,
        "runs": runs,
    }
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for run in runs:
        print(" ".join(f"{key}={value}" for key, value in run.items()))


def make_set(folder: Path, images: int, objects: int) -> None:
    """Write images/ and labels/ with `objects` boxes of two classes an image."""
    rng = np.random.default_rng(0)
    images = [encode_jpeg(rng, orientation) for orientation in (1,) * 9 + (6,)]
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        (folder / "images" / f"{number:06d}.jpg").write_bytes(images[number % len(images)])
        corners = rng.uniform(0, 200, (objects, 2))
        sides = rng.uniform(5, 40, (objects, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1).round(2).tolist()
        rows = [
            KittiObject("Person" if index % 2 else "face", tuple(box))
            for index, box in enumerate(boxes)
        ]
        write_kitti(folder / "labels" / f"{number:06d}.txt", rows)


def encode_jpeg(rng: np.random.Generator, orientation: int) -> bytes:
    """A noisy image with the EXIF orientation, where that is not upright."""
    width, height = IMAGE_SIZE_WH
    image = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


def measure(folder: Path, workers: int, images: int, repeats: int) -> dict[str, float]:
    """Best of some runs, start of the processes and writing of the shards included."""
    config = ConvertConfig(
        input_source=str(folder / "set"),
        results_dir=str(folder / f"out-{workers}"),
        image_dir_name="images",
        label_dir_name="labels",
        workers=workers,
    )
    wall_seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        summary = convert(config)
        wall_seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
        if summary.images != images:
            raise RuntimeError(f"{images} images were expected, got {summary.images}")
    run = {
        "workers": workers,
        "wall_seconds": round(min(wall_seconds), 3),
        "images_per_second": round(images / min(wall_seconds), 1),
        "images_per_second_per_core": round(images / min(wall_seconds) / workers, 1),
    }
    if workers == 1:  # other processes' time is not known here
        run["cpu_seconds"] = round(min(cpu_seconds), 3)
        run["images_per_cpu_second"] = round(images / min(cpu_seconds), 1)
    return run


if __name__ == "__main__":
    main()
