"""Training images of one worker: decoding and transforms, against two well-known loaders.

    python benchmarks/bench_data.py [--images 60] [--rounds 5] [--processes 3]

All three do the same work: read an image, resize all of it to a short side that is drawn once an
image from the page's list, normalise it, and bring its boxes along. Ours is DetectionDataset with
the part of TrainTransform that follows the draw of a view; the others are torchvision's
CocoDetection with transforms v2, and Hugging Face's DeformableDetrImageProcessor. Sizes, pixels and
boxes are compared first. Time is the process's own with one thread, files in the page cache; the
loaders take turns in an order that is drawn anew each round. The figures are medians over several
processes of the medians of each. Data: bccd and coco_permissive, found by DDETR_DATA or
../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import describe_machine
from PIL import Image
from torch import Tensor
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from transformers import DeformableDetrImageProcessor

from ddetr_data.coco import load_sources
from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.images import read_image, shortest_edge_hw
from ddetr_data.torch import (
    DetectionDataset,
    Sample,
    TrainTransform,
    View,
    draw_view,
    fixed_canvas_hw,
)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DDETR_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "data.json"
AUGMENTATION = AugmentationConfig()
LIMIT = AUGMENTATION.random_resize_max_size
SETS = ("bccd", "coco_permissive")
LARGEST_DIFFERENCE = 1e-5  # of normalised pixels, and of normalised boxes


class Loaded(NamedTuple):
    """What a loader makes of one image."""

    pixels: Tensor  # (3, H, W), normalised
    boxes_cxcywh: Tensor  # (N, 4), 0 to 1


Load = Callable[[int], Loaded]  # of an image by its index


def main() -> None:
    """Measure both sets in processes of their own, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", choices=SETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        torch.set_num_threads(1)
        found = measure_set(DATA / options.one, options.images, options.rounds)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    report: dict[str, Any] = {
        "images": options.images,
        "rounds": options.rounds,
        "processes": options.processes,
        "load_average": os.getloadavg()[0],
        "machine": describe_machine("torch", "torchvision", "transformers", "pillow"),
    }
    for name in SETS:
        runs = [run_process(name, options) for _ in range(options.processes)]
        report[name] = {key: medians([run[key] for run in runs]) for key in runs[0]}
        print(name, json.dumps(report[name], indent=1), flush=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def run_process(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure one set in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--images", str(options.images)]
    command += ["--rounds", str(options.rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"bench_data: {name} ended with status {done.returncode}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the processes."""
    return {name: round(statistics.median(run[name] for run in runs), 6) for name in runs[0]}


def measure_set(folder: Path, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds an image of the three loaders, and where ours spends its time."""
    images, labels = folder / "images" / "train", folder / "annotations" / "instances_train.json"
    ours, dataset = our_loader(images, labels)
    count = min(count, len(dataset))
    edges = np.random.default_rng(0).choice(AUGMENTATION.scales, count).tolist()
    files = [record.file_name for record in dataset.detection_set.images[:count]]
    loaders: dict[str, Load] = {
        "ddetr_data": lambda index: ours(index, edges[index]),
        "torchvision_coco_detection": torchvision_loader(images, labels, files, edges),
        "hf_image_processor": hugging_face_loader(images, labels, files, edges),
    }
    differences = compare(loaders, count)
    spent: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name in random.sample(list(loaders), len(loaders)):
            start = time.process_time()
            for index in range(count):
                loaders[name](index)
            spent[name].append((time.process_time() - start) / count)
    seconds = {name: statistics.median(each) for name, each in spent.items()}
    return {
        "images_per_second": {name: 1 / each for name, each in seconds.items()},
        "times_as_fast": {name: each / seconds["ddetr_data"] for name, each in seconds.items()},
        "agreement": differences,
        "our_milliseconds_per_image": profile(dataset, edges),
    }


def compare(loaders: dict[str, Load], count: int) -> dict[str, float]:
    """Largest differences from ours; SystemExit where they are no rounding."""
    largest = {"pixels": 0.0, "boxes": 0.0, "images_with_other_objects": 0.0}
    for index in range(count):
        ours = loaders["ddetr_data"](index)
        for name, load in loaders.items():
            theirs = load(index)
            if theirs.pixels.shape != ours.pixels.shape:
                sys.exit(f"bench_data: {name} gives image {index} another size")
            largest["pixels"] = max(largest["pixels"], apart(theirs.pixels, ours.pixels))
            if theirs.boxes_cxcywh.shape == ours.boxes_cxcywh.shape:
                boxes = apart(theirs.boxes_cxcywh, ours.boxes_cxcywh)
                largest["boxes"] = max(largest["boxes"], boxes)
            elif name == "hf_image_processor":  # we leave out repeats and what the image cuts off
                largest["images_with_other_objects"] += 1
    if max(largest["pixels"], largest["boxes"]) > LARGEST_DIFFERENCE:
        sys.exit(f"bench_data: unlike work: {largest}")
    return largest


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0


class WholeImage:
    """The part of the training transform that follows the draw, for a view of all of the image."""

    def __init__(self, transform: TrainTransform) -> None:
        self.transform = transform
        self.edge = 0

    def __call__(self, image: Image.Image, objects: Any, rng: np.random.Generator) -> Sample:
        """Show it with the short side `edge`."""
        del rng
        height, width = image.height, image.width
        size_hw = shortest_edge_hw(height, width, self.edge, LIMIT)
        return self.transform.show(View(0, 0, height, width, size_hw), image, objects)


def our_loader(images: Path, labels: Path) -> tuple[Callable[[int, int], Loaded], DetectionDataset]:
    """DetectionDataset, by an image's index and its short side."""
    source = DataSource(image_dir=images, json_file=labels)
    loaded = load_sources([source], num_classes=None)
    canvas_hw = fixed_canvas_hw(AUGMENTATION, loaded.images.columns.sizes_wh)
    transform = WholeImage(TrainTransform(AUGMENTATION, canvas_hw))
    dataset = DetectionDataset(loaded, transform)

    def load(index: int, edge: int) -> Loaded:
        transform.edge = edge
        pixels, target = dataset[index]
        return Loaded(pixels, target["boxes"])

    return load, dataset


def torchvision_loader(images: Path, labels: Path, files: list[str], edges: list[int]) -> Load:
    """CocoDetection, and the same steps in transforms v2."""
    plain = CocoDetection(images, labels)
    ids = {row["file_name"]: row["id"] for row in plain.coco.dataset["images"]}
    plain.ids = [ids[file] for file in files]
    dataset = wrap_dataset_for_transforms_v2(plain, target_keys=("boxes", "labels"))
    rest = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(AUGMENTATION.input_mean, AUGMENTATION.input_std),
            v2.ConvertBoundingBoxFormat("CXCYWH"),
        ]
    )

    def load(index: int) -> Loaded:
        image, target = dataset[index]
        resize = v2.Resize(edges[index], max_size=LIMIT, antialias=True)
        pixels, boxes = rest(*resize(v2.functional.to_image(image), target.get("boxes", NO_BOXES)))
        return Loaded(pixels, boxes / torch.tensor(pixels.shape[1:]).flip(0).repeat(2))

    return load


NO_BOXES = torch.zeros(0, 4)  # images without any object lack them


def hugging_face_loader(images: Path, labels: Path, files: list[str], edges: list[int]) -> Load:
    """Decode with Pillow and give image and annotations to the processor."""
    processor = DeformableDetrImageProcessor()
    content = json.loads(labels.read_text())
    by_file = {image["file_name"]: image for image in content["images"]}
    rows: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        rows[row["image_id"]].append(row)

    def load(index: int) -> Loaded:
        image = by_file[files[index]]
        made = processor(
            Image.open(images / image["file_name"]).convert("RGB"),
            annotations={"image_id": image["id"], "annotations": rows[image["id"]]},
            size={"shortest_edge": edges[index], "longest_edge": LIMIT},
            return_tensors="pt",
        )
        return Loaded(made["pixel_values"][0], torch.as_tensor(made["labels"][0]["boxes"]))

    return load


def profile(dataset: DetectionDataset, edges: list[int]) -> dict[str, float]:
    """Processor time of our steps, by doing them one after the other."""
    transform: Any = dataset.transform
    rng, spent = np.random.default_rng(0), dict.fromkeys(("decode", "draw_view", "show"), 0.0)
    for index, edge in enumerate(edges):
        record = dataset.detection_set.images[index]
        start = time.process_time()
        image = read_image(record.path)
        decoded = time.process_time()
        inner = transform.transform
        draw_view((image.height, image.width), AUGMENTATION, inner.canvas_hw, rng)
        drawn = time.process_time()
        transform.edge = edge
        transform(image, record.annotations, rng)
        shown = time.process_time()
        for name, each in zip(
            spent, (decoded - start, drawn - decoded, shown - drawn), strict=True
        ):
            spent[name] += each * 1000 / len(edges)
    return spent


if __name__ == "__main__":
    main()
