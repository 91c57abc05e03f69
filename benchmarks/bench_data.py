"""Training images of one worker: decoding and transforms, against two well-known loaders.

    python benchmarks/bench_data.py [--images 60] [--rounds 3]

All three read the same files: ours with TrainTransform, torchvision's CocoDetection with the same
pipeline written in transforms v2, and Hugging Face's DeformableDetrImageProcessor, which has no
random crop or flip, with a random short side from the same list. The images come out in unlike
sizes, so megapixels a second are what to compare. Time is the process's own (one thread), the best
of several interleaved rounds, files in the page cache. Data: bccd and coco_permissive, found by
DDETR_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from PIL import Image
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from transformers import DeformableDetrImageProcessor

from ddetr_data.coco import load_sources
from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.images import read_image
from ddetr_data.torch import DetectionDataset, TrainTransform, draw_view, fixed_canvas_hw

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DDETR_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "data.json"
AUGMENTATION = AugmentationConfig()

Load = Callable[[int], tuple[int, int]]  # an image's number to the height and width it got


def main() -> None:
    """Measure on both sets, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "images": options.images,
        "rounds": options.rounds,
        "machine": describe_machine("torch", "torchvision", "transformers", "pillow"),
    }
    for name in ("bccd", "coco_permissive"):
        images = DATA / name / "images" / "train"
        labels = DATA / name / "annotations" / "instances_train.json"
        report[name] = measure_set(images, labels, options.images, options.rounds)
        print(name, json.dumps(report[name], indent=1), flush=True)
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure_set(images: Path, labels: Path, count: int, rounds: int) -> dict[str, Any]:
    """Images a second of the three loaders, and where ours spends its time."""
    ours, dataset = our_loader(images, labels)
    loaders = {
        "ddetr_data": ours,
        "torchvision_coco_detection": torchvision_loader(images, labels),
        "hf_image_processor": hugging_face_loader(images, labels),
    }
    count = min(count, len(dataset))
    best = dict.fromkeys(loaders, float("inf"))
    megapixels = {}
    for _ in range(rounds):
        for name, load in loaders.items():
            spent, megapixels[name] = measure(load, count)
            best[name] = min(best[name], spent)
    return {
        "images_per_second": {name: round(count / spent, 1) for name, spent in best.items()},
        "megapixels_per_image": {name: round(size, 3) for name, size in megapixels.items()},
        "megapixels_per_second": {
            name: round(megapixels[name] * count / spent, 1) for name, spent in best.items()
        },
        "our_milliseconds_per_image": profile(dataset, count),
    }


def measure(load: Load, count: int) -> tuple[float, float]:
    """Processor seconds for the first `count` images, and megapixels an image they came to."""
    start = time.process_time()
    sizes = [load(index) for index in range(count)]
    spent = time.process_time() - start
    return spent, sum(height * width for height, width in sizes) / count / 1e6


def our_loader(images: Path, labels: Path) -> tuple[Load, DetectionDataset]:
    """DetectionDataset with the page's training transform."""
    source = DataSource(image_dir=images, json_file=labels)
    loaded = load_sources([source], num_classes=None)
    canvas_hw = fixed_canvas_hw(AUGMENTATION, loaded.images.columns.sizes_wh)
    dataset = DetectionDataset(loaded, TrainTransform(AUGMENTATION, canvas_hw))
    return lambda index: dataset[index][0].shape[1:], dataset


def torchvision_loader(images: Path, labels: Path) -> Load:
    """CocoDetection with the same pipeline, step by step, in transforms v2."""
    limit = AUGMENTATION.random_resize_max_size
    final = v2.RandomChoice(
        [v2.Resize(edge, max_size=limit, antialias=True) for edge in AUGMENTATION.scales]
    )
    first = v2.RandomChoice([v2.Resize(edge) for edge in AUGMENTATION.train_random_resize])
    pipeline = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(AUGMENTATION.horizontal_flip_prob),
            v2.RandomChoice([final, v2.Compose([first, RandomSizeCrop(), final])]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(AUGMENTATION.input_mean, AUGMENTATION.input_std),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    plain = CocoDetection(images, labels, transforms=pipeline)
    # Images without any object lack boxes here, and the sanitiser refuses them.
    plain.ids = [id for id in plain.ids if plain.coco.imgToAnns[id]]
    dataset = wrap_dataset_for_transforms_v2(plain, target_keys=("boxes", "labels"))
    return lambda index: dataset[index % len(dataset)][0].shape[1:]


class RandomSizeCrop(v2.Transform):
    """A crop whose sides are drawn from the spec's range."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Draw the region inside the image."""
        height, width = v2.functional.get_size(flat_inputs[0])
        low, high = AUGMENTATION.train_random_crop_min, AUGMENTATION.train_random_crop_max
        rows = int(torch.randint(min(low, height), min(high, height) + 1, ()))
        columns = int(torch.randint(min(low, width), min(high, width) + 1, ()))
        top = int(torch.randint(0, height - rows + 1, ()))
        left = int(torch.randint(0, width - columns + 1, ()))
        return {"top": top, "left": left, "height": rows, "width": columns}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        """Cut the image or its boxes."""
        return self._call_kernel(v2.functional.crop, inpt, **params)


def hugging_face_loader(images: Path, labels: Path) -> Load:
    """Decode with Pillow and give image and annotations to the processor."""
    processor = DeformableDetrImageProcessor()
    content = json.loads(labels.read_text())
    rows: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        rows[row["image_id"]].append(row)
    rng = np.random.default_rng(0)

    def load(index: int) -> tuple[int, int]:
        image = content["images"][index % len(content["images"])]
        edge = int(rng.choice(AUGMENTATION.scales))
        made = processor(
            Image.open(images / image["file_name"]).convert("RGB"),
            annotations={"image_id": image["id"], "annotations": rows[image["id"]]},
            size={"shortest_edge": edge, "longest_edge": AUGMENTATION.random_resize_max_size},
            return_tensors="pt",
        )
        return made["pixel_values"].shape[2:]

    return load


def profile(dataset: DetectionDataset, count: int) -> dict[str, float]:
    """Processor time of our steps, by doing them one after the other."""
    records = [dataset.detection_set.images[index] for index in range(count)]
    transform = dataset.transform
    rng = np.random.default_rng(0)
    start = time.process_time()
    opened = [read_image(record.path) for record in records]
    decoded = time.process_time()
    views = [
        draw_view((image.height, image.width), AUGMENTATION, transform.canvas_hw, rng)
        for image in opened
    ]
    drawn = time.process_time()
    for view, image, record in zip(views, opened, records, strict=True):
        transform.show(view, image, record.annotations)
    shown = time.process_time()
    return {
        "decode": round((decoded - start) / count * 1000, 2),
        "draw_view": round((drawn - decoded) / count * 1000, 2),
        "cut_resize_mirror_normalise": round((shown - drawn) / count * 1000, 2),
    }


if __name__ == "__main__":
    main()
