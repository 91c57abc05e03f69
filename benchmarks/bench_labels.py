"""Opening labels: time and peak memory of one COCO JSON of 10,000 to a million images.

    python benchmarks/bench_labels.py [--images 10000 100000 1000000] [--boxes 7]

Each set is one generated file with as many boxes an image, and is read in a process of its own by
load_sources, which looks at no image. "peak_mib" is the process's, less what it has before it
reads; "outlined" has a polygon of five points in every row, too, as COCO's own files do. Files are
in the page cache. A million images take 1 GiB of disk under TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource

RESULTS = Path(__file__).parent / "results" / "labels.json"
CATEGORIES = 80
MOST_OUTLINED = 100_000  # images; more of them take minutes to write
LARGEST_XYWH = np.array([400, 300, 200, 150])  # inside of 640 x 480 pixels
AT_A_TIME = 10_000  # images that are written


def main() -> None:
    """Write and read each set, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--boxes", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    report: dict[str, Any] = {"boxes_an_image": options.boxes}
    for images in options.images:
        for name in ("plain", "outlined") if images <= MOST_OUTLINED else ("plain",):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "labels.json")
                write_labels(path, images, options.boxes, outlined=name == "outlined")
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    found = process.submit(measure, path).result()
                found["json_mib"] = round(path.stat().st_size / 2**20)
            report.setdefault(str(images), {})[name] = found
            print(images, name, json.dumps(found), flush=True)
    report["machine"] = describe_machine("numpy")
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_labels(path: Path, images: int, boxes: int, *, outlined: bool) -> None:
    """Write a file of COCO JSON, some images at a time."""
    rng = np.random.default_rng(0)
    names = json.dumps([{"id": id, "name": f"class {id}"} for id in range(1, CATEGORIES + 1)])
    starts = range(1, images + 1, AT_A_TIME)
    with path.open("w") as file:
        file.write(f'{{"categories":{names},"images":[')
        for start in starts:
            rows = [
                f'{{"id":{id},"file_name":"folder/{id:012d}.jpg","width":640,"height":480}}'
                for id in range(start, min(start + AT_A_TIME, images + 1))
            ]
            file.write(",\n" * (start > 1) + ",\n".join(rows))
        file.write('],"annotations":[')
        for start in starts:
            owners = np.repeat(np.arange(start, min(start + AT_A_TIME, images + 1)), boxes)
            file.write(",\n" * (start > 1) + annotation_rows(owners, boxes, rng, outlined))
        file.write("]}")


def annotation_rows(
    owners: np.ndarray, boxes: int, rng: np.random.Generator, outlined: bool
) -> str:
    """Rows of the images' objects; their ids count on from image to image."""
    boxes_xywh = rng.integers(0, 100 * LARGEST_XYWH, (len(owners), 4)) / 100 + 1
    labels = rng.integers(1, CATEGORIES + 1, len(owners))
    columns = zip(*(each.tolist() for each in (owners, labels, boxes_xywh)), strict=True)
    first = (int(owners[0]) - 1) * boxes + 1
    rows = []
    for id, (owner, label, box) in enumerate(columns, first):
        polygon = f'"segmentation":[{[*box, *box, *box[:2]]}],' if outlined else ""
        rows.append(
            f'{{"id":{id},"image_id":{owner},"category_id":{label},{polygon}"bbox":{box},'
            f'"area":{round(box[2] * box[3], 2)},"iscrowd":0}}'
        )
    return ",\n".join(rows)


def measure(path: Path) -> dict[str, float]:
    """Seconds, and the peak of memory in MiB over what there was before."""
    before = peak_mib()
    start = time.perf_counter()
    loaded = load_sources(
        [DataSource(image_dir=str(path.parent), json_file=str(path))], num_classes=None
    )
    spent = time.perf_counter() - start
    return {
        "seconds": round(spent, 1),
        "peak_mib": round(peak_mib() - before),
        "images": len(loaded.images),
    }


def peak_mib() -> float:
    """The largest amount of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
