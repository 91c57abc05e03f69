"""Draw what each transform of training images does, to be looked at.

    python scripts/transform_sheet.py FOLDER [IMAGE_DIR JSON_FILE]

Writes a PNG a transform into FOLDER: eight samples with their boxes. Without a labelled set, of
drawn shapes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ddetr_data import AugmentationConfig, DataSource, make_dataset
from ddetr_data.coco import DetectionSet
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionDataset, Mosaic, TrainTransform

CELL_WH, COLUMNS, COUNT = (320, 240), 4, 8
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")
WHOLE = {"train_random_crop_min": 10**6, "train_random_crop_max": 10**6, "scales": [240]}
RAW: dict[str, Any] = {"input_mean": [0], "input_std": [1 / 255], "random_resize_max_size": 400}
SHEETS: dict[str, dict[str, Any]] = {
    "nothing": {**WHOLE, "horizontal_flip_prob": 0},
    "flip": {**WHOLE, "horizontal_flip_prob": 1},
    "resize": {**WHOLE, "horizontal_flip_prob": 0, "scales": [80, 160, 240]},
    "crop": {"train_random_crop_min": 150, "scales": [240], "train_random_resize": [300]},
    "large-scale-jitter": {"fixed_random_crop": 256},
    "color-jitter-0.5": {**WHOLE, "color_jitter": 0.5},
    "color-jitter-1.0": {**WHOLE, "color_jitter": 1},
    "mosaic": {**WHOLE, "mosaic": 1},
    "all": {"scales": [160, 240], "mosaic": 0.5, "color_jitter": 0.5, "train_random_crop_min": 150},
}


def main(arguments: Sequence[str]) -> None:
    """Draw all sheets."""
    folder, *source = arguments
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as drawn:
        labelled = open_sources([_source(source, drawn)], num_classes=None, dataset_type="default")
        for name, options in SHEETS.items():
            sheet(labelled, AugmentationConfig(**RAW | options)).save(Path(folder, f"{name}.png"))


def sheet(labelled: DetectionSet, augmentation: AugmentationConfig) -> Image.Image:
    """Put samples side by side, each at the top left of its cell."""
    transform = TrainTransform(augmentation)
    data = DetectionDataset(labelled, transform, mosaic=Mosaic.of(augmentation))
    width, height = CELL_WH
    page = Image.new("RGB", (COLUMNS * width, COUNT // COLUMNS * height), "white")
    for number in range(COUNT):
        pixels, target = data[number % len(data)]
        image = Image.fromarray(pixels.permute(1, 2, 0).clamp(0, 255).byte().numpy())
        pen, size = ImageDraw.Draw(image), np.array([image.width, image.height] * 2)
        for (x, y, w, h), label in zip(target["boxes"], target["labels"], strict=True):
            corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * size
            pen.rectangle(tuple(corners), outline=COLORS[int(label) % len(COLORS)], width=2)
        image.thumbnail((width - 4, height - 4))
        page.paste(image, (number % COLUMNS * width, number // COLUMNS * height))
    return page


def _source(given: Sequence[str], folder: str) -> DataSource:
    if given:
        return DataSource(image_dir=given[0], json_file=given[1])
    made = make_dataset(folder, num_images={"train": COUNT}, image_size_hw=(240, 320), seed=1)
    return DataSource(image_dir=made.image_dirs["train"], json_file=made.json_files["train"])


if __name__ == "__main__":
    main(sys.argv[1:])
