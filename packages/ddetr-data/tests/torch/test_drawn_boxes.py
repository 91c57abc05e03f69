"""Whatever a random transform does, a drawn rectangle stays under its box.

Each example draws filled rectangles that do not overlap, one of the channels red, green and blue
each, and reads from the sample's pixels where each of them has come to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ddetr_data import AugmentationConfig
from ddetr_data.torch import Mosaic, Sample, TrainTransform
from ddetr_data.types import Annotations

SIZE_HW = (96, 128)
QUADRANTS = ((0, 0), (64, 0), (0, 48))  # left and top; of red, green and blue
LEAST_SIDE = 8  # pixels of a rectangle that an overlap is measured of; below it a pixel is much
LEAST_IOU = 0.7
RAW: dict[str, Any] = {"input_mean": [0.0], "input_std": [1 / 255], "random_resize_max_size": 256}
CROPS = {
    "scales": [64, 96, 160],
    "train_random_resize": [72, 96, 120],
    "train_random_crop_min": 40,
    "train_random_crop_max": 90,
}
WHOLE = {"train_random_crop_min": 10**6, "train_random_crop_max": 10**6}
# What each draws; the others are off, or as good as off.
TRANSFORMS: dict[str, dict[str, Any]] = {
    "flip": {"horizontal_flip_prob": 1.0, "scales": [96], **WHOLE},
    "resize": {"horizontal_flip_prob": 0.0, "scales": [48, 72, 150], **WHOLE},
    "crop": {"horizontal_flip_prob": 0.0, **CROPS},
    "all of them": {**CROPS},
    "large-scale jitter": {"fixed_random_crop": 128},
    "colour jitter": {**CROPS, "color_jitter": 0.3},
    "colour and large-scale jitter": {"fixed_random_crop": 128, "color_jitter": 0.3},
}


class Drawn(NamedTuple):
    """An image of rectangles, and their boxes with labels 0, 1 and 2."""

    image: Image.Image
    objects: Annotations


@st.composite
def drawings(draw: Any) -> Drawn:
    """Draw a rectangle in some of three quadrants, in the quadrant's channel."""
    pixels = np.zeros((*SIZE_HW, 3), np.uint8)
    boxes, labels = [], []
    for channel, (left, top) in enumerate(QUADRANTS):
        if not draw(st.integers(0, 3)):
            continue
        width, height = draw(st.integers(8, 60)), draw(st.integers(8, 44))
        x, y = left + draw(st.integers(0, 62 - width)), top + draw(st.integers(0, 46 - height))
        pixels[y : y + height, x : x + width, channel] = 255
        boxes.append([x, y, width, height])
        labels.append(channel)
    array = np.array(boxes, np.float64).reshape(-1, 4)
    count = len(labels)
    objects = Annotations(
        array, np.array(labels, np.int64), np.zeros(count, np.bool_), array[:, 2:].prod(1)
    )
    return Drawn(Image.fromarray(pixels), objects)


def corners_of(sample: Sample) -> NDArray[np.float64]:
    """Give the boxes as left, top, right, bottom in pixels of the sample."""
    height, width = sample.pixels.shape[1:]
    boxes = sample.boxes_cxcywh.double().numpy()
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    return corners * [width, height, width, height]


def extents_of(pixels: torch.Tensor) -> dict[int, NDArray[np.float64]]:
    """Find where the rectangle of each channel is seen: more of it than of the others."""
    found = {}
    for channel in range(3):
        others = pixels[[each for each in range(3) if each != channel]].amax(0)
        more = pixels[channel] - others
        rows, columns = torch.nonzero(more > max(0.5 * float(more.max()), 8), as_tuple=True)
        if len(rows):
            found[channel] = np.array(
                [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float
            )
    return found


def iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    start, stop = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    areas = [np.prod(each[2:] - each[:2]) for each in (first, second)]
    common = np.prod(np.clip(stop - start, 0, None))
    return float(common / (sum(areas) - common))


def check(sample: Sample) -> None:
    """Every box has its rectangle, every rectangle its box, and both lie in the same position."""
    height, width = sample.pixels.shape[1:]
    corners, labels = corners_of(sample), sample.labels.tolist()
    assert sample.boxes_cxcywh.dtype == torch.float32
    assert len(corners) == len(labels) == len(sample.area) == len(sample.is_crowd)
    assert (corners >= -0.01).all()
    assert (corners <= np.array([width, height] * 2) + 0.01).all()
    assert (corners[:, 2:] > corners[:, :2]).all()
    assert len(set(labels)) == len(labels)
    assert np.allclose(sample.area, (corners[:, 2:] - corners[:, :2]).prod(1), rtol=0.01)
    found = extents_of(sample.pixels)
    for label, box in zip(labels, corners, strict=True):
        if (box[2:] - box[:2]).min() >= LEAST_SIDE:
            assert iou(box, found[label]) > LEAST_IOU, (label, box, found[label])
    for label, extent in found.items():
        if (extent[2:] - extent[:2]).min() >= LEAST_SIDE:
            assert label in labels


@pytest.mark.parametrize("name", TRANSFORMS)
@given(drawn=drawings(), seed=st.integers(0, 2**31))
def test_a_rectangle_stays_under_its_box(name: str, drawn: Drawn, seed: int) -> None:
    """Boxes lie inside, labels stay with them, and areas are what is seen of them."""
    transform = TrainTransform(AugmentationConfig(**RAW | TRANSFORMS[name]))
    check(transform(drawn.image, drawn.objects, np.random.default_rng(seed)))


@st.composite
def four_images(draw: Any) -> list[Drawn]:
    """Draw images of any shape, of which three have a rectangle: red, green or blue."""
    found = []
    for channel in (0, 1, 2, None):
        width, height = draw(st.integers(40, 150)), draw(st.integers(40, 150))
        pixels = np.zeros((height, width, 3), np.uint8)
        boxes = []
        if channel is not None:
            w, h = draw(st.integers(8, width)), draw(st.integers(8, height))
            x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
            pixels[y : y + h, x : x + w, channel] = 255
            boxes.append([x, y, w, h])
        array, count = np.array(boxes, np.float64).reshape(-1, 4), len(boxes)
        labels, crowd = np.full(count, channel or 0), np.zeros(count, np.bool_)
        objects = Annotations(array, labels, crowd, array[:, 2:].prod(1))
        found.append(Drawn(Image.fromarray(pixels), objects))
    return found


@given(parts=four_images(), seed=st.integers(0, 2**31), limit=st.integers(64, 400))
def test_rectangles_of_a_mosaic_stay_under_their_boxes(
    parts: list[Drawn], seed: int, limit: int
) -> None:
    """On the canvas, and in what a random view shows of it."""
    rng = np.random.default_rng(seed)
    canvas, objects = Mosaic(1.0, limit).join(parts, rng)
    width, height = parts[0].image.size
    assert min(canvas.size) == min(limit, 2 * min(width, height))
    pixels = torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float()
    boxes = objects.boxes_xywh / ([canvas.width, canvas.height] * 2)
    boxes[:, :2] += boxes[:, 2:] / 2
    area = torch.from_numpy(objects.area)
    labels, crowd = torch.from_numpy(objects.labels), torch.from_numpy(objects.is_crowd)
    check(Sample(pixels, torch.from_numpy(boxes).float(), labels, area, crowd))
    transform = TrainTransform(AugmentationConfig(**RAW | CROPS))
    check(transform(canvas, objects, rng))
