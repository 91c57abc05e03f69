"""Boxes follow their pixels through every view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddetr_data.config import AugmentationConfig
from ddetr_data.images import PreprocessConfig, preprocess
from ddetr_data.torch import EvalTransform, Sample, TrainTransform, View
from ddetr_data.types import Annotations

PLAIN = AugmentationConfig(input_mean=[0.0], input_std=[1.0])
HEIGHT, WIDTH = 60, 80
WHOLE = (0, 0, HEIGHT, WIDTH)


def objects_of(*boxes_xywh: list[float]) -> Annotations:
    boxes = np.array(boxes_xywh, np.float64).reshape(-1, 4)
    labels = np.arange(len(boxes), dtype=np.int64)
    crowd = np.zeros(len(boxes), np.bool_)
    return Annotations(boxes, labels, crowd, boxes[:, 2] * boxes[:, 3] / 2)


def image_with(*boxes_xywh: list[int]) -> Image.Image:
    """Black, with a white rectangle for each box."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for left, top, width, height in boxes_xywh:
        pixels[top : top + height, left : left + width] = 255
    return Image.fromarray(pixels)


def show(view: View, *boxes_xywh: list[int]) -> Sample:
    return TrainTransform(PLAIN).show(view, image_with(*boxes_xywh), objects_of(*boxes_xywh))


def corners_in_pixels(sample: Sample) -> torch.Tensor:
    height, width = sample.pixels.shape[1:]
    centre, size = sample.boxes_cxcywh[:, :2], sample.boxes_cxcywh[:, 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], 1)
    return corners * torch.tensor([width, height, width, height])


def bright_extent(pixels: torch.Tensor) -> list[int]:
    """Give left, top, right and bottom of what is brighter than half."""
    rows, columns = torch.nonzero(pixels[0] > 0.5, as_tuple=True)
    return [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


REGIONS = st.tuples(
    st.integers(0, 20), st.integers(0, 20), st.integers(20, 40), st.integers(20, 60)
)
BOXES = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(4, 20), st.integers(4, 20))


@given(region=REGIONS, box=BOXES, mirrored=st.booleans(), scale=st.integers(1, 3))
def test_a_box_stays_around_its_pixels(
    region: tuple[int, int, int, int], box: tuple[int, int, int, int], mirrored: bool, scale: int
) -> None:
    """Cut, enlarged and mirrored, the white rectangle is where its box says, or both are gone."""
    top, left, height, width = region
    view = View(*region, size_hw=(height * scale, width * scale), mirrored=mirrored)
    sample = show(view, list(box))
    seen = (min(box[0] + box[2], left + width) > max(box[0], left)) and (
        min(box[1] + box[3], top + height) > max(box[1], top)
    )
    assert len(sample.boxes_cxcywh) == seen
    if seen:
        found = torch.tensor(bright_extent(sample.pixels), dtype=torch.float32)
        assert (found - corners_in_pixels(sample)[0]).abs().max() <= 1


@given(region=REGIONS, boxes=st.lists(BOXES, max_size=4), mirrored=st.booleans())
def test_no_box_leaves_the_sample(
    region: tuple[int, int, int, int], boxes: list[tuple[int, int, int, int]], mirrored: bool
) -> None:
    """Corners are within 0 to 1, sizes above 0, and areas at most those of the boxes."""
    view = View(*region, size_hw=(50, 70), mirrored=mirrored)
    sample = show(view, *[list(box) for box in boxes])
    corners = corners_in_pixels(sample)
    assert (corners >= -1e-4).all()
    assert (corners <= torch.tensor([70, 50, 70, 50]) + 1e-4).all()
    extent = corners[:, 2:] - corners[:, :2]
    assert (extent > 0).all()
    assert torch.allclose(sample.area, extent.prod(1) / 2, rtol=1e-3)


@given(boxes=st.lists(BOXES, min_size=1, max_size=4))
def test_two_flips_are_none(boxes: list[tuple[int, int, int, int]]) -> None:
    """A mirrored view of a mirrored image shows the image and its boxes."""
    image, objects = (
        image_with(*[list(box) for box in boxes]),
        objects_of(*[list(b) for b in boxes]),
    )
    transform = TrainTransform(PLAIN)
    plain = transform.show(View(*WHOLE, size_hw=(HEIGHT, WIDTH)), image, objects)
    flipped_objects = objects_of(*[[WIDTH - x - w, y, w, h] for x, y, w, h in boxes])
    flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    twice = transform.show(View(*WHOLE, (HEIGHT, WIDTH), mirrored=True), flipped, flipped_objects)
    assert torch.equal(plain.pixels, twice.pixels)
    assert torch.allclose(plain.boxes_cxcywh, twice.boxes_cxcywh, atol=1e-6)


@given(region=REGIONS, box=BOXES)
def test_a_crop_keeps_the_centres_of_whole_boxes(
    region: tuple[int, int, int, int], box: tuple[int, int, int, int]
) -> None:
    """A box that is wholly inside moves by the crop's corner and keeps its size."""
    top, left, height, width = region
    x, y, w, h = box
    if x < left or y < top or x + w > left + width or y + h > top + height:
        return
    sample = show(View(*region, size_hw=(height, width)), list(box))
    expected = torch.tensor([[x + w / 2 - left, y + h / 2 - top, w, h]])
    scale = torch.tensor([width, height, width, height])
    assert torch.allclose(sample.boxes_cxcywh * scale, expected, atol=1e-3)


def test_labels_stay_with_their_boxes() -> None:
    """When objects are cut off the others keep their classes."""
    sample = show(View(0, 0, 60, 40, (60, 40)), [50, 0, 5, 5], [10, 10, 20, 20], [60, 9, 9, 9])
    assert sample.labels.tolist() == [1]


def test_an_image_without_objects_is_a_sample() -> None:
    """Empty boxes keep their shape and types."""
    sample = show(View(*WHOLE, size_hw=(30, 40)))
    assert sample.boxes_cxcywh.shape == (0, 4)
    assert (sample.boxes_cxcywh.dtype, sample.labels.dtype) == (torch.float32, torch.int64)


def test_training_and_evaluation_normalise_alike() -> None:
    """At the original size both transforms give the same pixels."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    augmentation = AugmentationConfig(test_random_resize=HEIGHT)
    train = TrainTransform(augmentation).show(View(*WHOLE, (HEIGHT, WIDTH)), image, objects_of())
    config = PreprocessConfig.from_augmentation(augmentation)
    evaluated = EvalTransform(config)(image, objects_of())
    assert torch.allclose(train.pixels, evaluated.pixels, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(150, 700), (2, 50000), (1, 1)])
def test_large_samples_are_normalised_in_all_rows(size_hw: tuple[int, int]) -> None:
    """Blocks of rows join without a seam, mirrored too; the last one may be smaller."""
    height, width = size_hw
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, transform = Image.fromarray(pixels), TrainTransform(AugmentationConfig())
    plain, mirrored = (
        transform.show(View(0, 0, *size_hw, size_hw, mirrored), image, objects_of()).pixels
        for mirrored in (False, True)
    )
    fixed = PreprocessConfig().fixed_to(*size_hw)
    assert torch.allclose(plain, torch.from_numpy(preprocess(image, fixed)), atol=1e-5)
    assert torch.equal(mirrored, plain.flip(2))
    assert plain.permute(1, 2, 0).is_contiguous()


def test_showing_an_image_leaves_it_and_its_objects_as_they_are() -> None:
    """Another view may be made of the same, whole or cut."""
    image, objects = image_with([10, 10, 20, 20]), objects_of([70, 50, 20, 20])
    before, boxes = image.copy(), objects.boxes_xywh.copy()
    for view in (View(*WHOLE, (HEIGHT, WIDTH), mirrored=True), View(5, 5, 30, 30, (30, 30))):
        TrainTransform(PLAIN).show(view, image, objects).pixels.zero_()
    assert image == before
    assert (objects.boxes_xywh == boxes).all()


def test_evaluation_shows_exactly_the_one_preprocessing() -> None:
    """The dataset's pixels are those of the torch-free runtime, bit for bit."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    config = PreprocessConfig(shortest_edge=100, max_size=120)
    sample = EvalTransform(config)(image, objects_of([20, 30, 40, 20], [70, 50, 20, 20]))
    assert (sample.pixels.numpy() == preprocess(image, config)).all()
    assert torch.allclose(sample.boxes_cxcywh[0], torch.tensor([0.5, 40 / 60, 0.5, 20 / 60]))
    assert torch.allclose(sample.boxes_cxcywh[1], torch.tensor([75 / 80, 55 / 60, 1 / 8, 1 / 6]))


def test_a_draw_depends_on_the_generator_alone() -> None:
    """The same seed shows the same view, another seed another."""
    transform, image = TrainTransform(AugmentationConfig(scales=[32, 48, 64])), image_with()
    first, again, other = (
        transform(image, objects_of(), np.random.default_rng(seed)).pixels.shape
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
