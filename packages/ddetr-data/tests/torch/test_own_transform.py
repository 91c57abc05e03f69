"""A transform of one's own gets what Albumentations takes, and what it gives is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddetr_data import AugmentationConfig, DataError
from ddetr_data.loading import open_sources
from ddetr_data.torch import (
    REGION_LABEL,
    DetectionDataset,
    OwnTransform,
    Sample,
    TrainTransform,
    function_name,
)
from ddetr_data.torch.own_transform import CheckedTransform
from ddetr_data.types import Annotations

BOX = np.array([[5.0, 4.0, 15.0, 12.0]])
ONE = np.array([1])
PIXELS = np.zeros((30, 40, 3), np.uint8)


def unchanged(image: Any, boxes: Any, labels: Any, rng: Any) -> Any:
    return image, boxes, labels


def plain_samples(image: Image.Image, objects: Annotations, rng: np.random.Generator) -> Sample:
    """Give the image as it is, its boxes normalised."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    boxes = torch.from_numpy(objects.boxes_xywh / ([image.width, image.height] * 2))
    area, crowd = torch.from_numpy(objects.area).float(), torch.from_numpy(objects.is_crowd)
    return Sample(pixels, boxes.float(), torch.from_numpy(objects.labels), area, crowd)


@pytest.fixture
def dataset(write_source: Any, content: Any) -> Callable[..., DetectionDataset]:
    """Two images of 40 x 30 pixels; the second one's first object is a region."""
    content["annotations"][2] |= {"ignore": 1}

    def build(own: OwnTransform | None, transform: Any = None) -> DetectionDataset:
        labelled = open_sources(
            [write_source(content)], num_classes=3, dataset_type="default", ignore_regions=True
        )
        augmentation = AugmentationConfig(scales=[30], random_resize_max_size=40)
        transform = transform or TrainTransform(augmentation)
        return DetectionDataset(labelled, transform, seed=2, own_transform=own)

    return build


def test_it_gets_pixels_corners_labels_and_the_samples_random_numbers(dataset: Any) -> None:
    """An RGB array, boxes in pixels, category ids, -1 for a region; the draws are the sample's."""
    calls: list[Any] = []

    def look(image: Any, boxes: Any, labels: Any, rng: np.random.Generator) -> Any:
        calls.append((image.shape, image.dtype, boxes.tolist(), labels.tolist(), rng.random()))
        return image, boxes, labels

    data = dataset(look)
    for index in (0, 1, 0):
        data[index]
    boxes = [[5.0, 4.0, 15.0, 12.0], [10.0, 4.0, 20.0, 12.0]]
    assert calls[0][:4] == ((30, 40, 3), np.uint8, boxes, [1, 2])
    assert sorted(calls[1][3]) == [REGION_LABEL, 2]
    assert calls[0] == calls[2]
    assert calls[0][4] != calls[1][4]
    data.set_epoch(1)
    data[0]
    assert calls[3][4] != calls[0][4]


def test_what_it_gives_is_what_is_trained_on(dataset: Any) -> None:
    """Pixels, size, boxes and labels may all be others; regions stay regions."""

    def shift(image: Any, boxes: Any, labels: Any, rng: Any) -> Any:
        wider = np.zeros((60, 80, 3), np.uint8)
        wider[10:40, 20:60] = image
        moved = np.add(boxes, [20, 10, 20, 10])
        return wider, [*moved.tolist(), [0, 0, 8, 6]], [*labels.tolist(), 2]

    data, plain = dataset(shift, plain_samples), dataset(None, plain_samples)
    (pixels, target), (before, _) = data[1], plain[1]
    assert pixels.shape == (3, 60, 80)
    assert torch.equal(pixels[:, 10:40, 20:60], before)
    assert target["labels"].tolist() == [2, 2]
    assert target["area"].tolist() == [80, 48]  # of the boxes
    assert len(target["regions"]) == 1


def test_without_one_nothing_changes(dataset: Any) -> None:
    """A transform that gives back what it got makes the same samples to the bit."""
    for index in (0, 1):
        (first, one), (second, other) = dataset(None)[index], dataset(unchanged)[index]
        assert torch.equal(first, second)
        assert torch.equal(one["boxes"], other["boxes"])


def test_an_image_may_lose_all_objects(dataset: Any) -> None:
    """Empty lists are boxes and labels too."""
    _, target = dataset(lambda image, boxes, labels, rng: (image, [], []))[0]
    assert target["boxes"].shape == (0, 4)


def called(given: Any) -> OwnTransform:
    def odd(image: Any, boxes: Any, labels: Any, rng: Any) -> Any:
        return given

    return odd


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (None, "NoneType: it must give a tuple of image, boxes_xyxy and labels"),
        ((PIXELS, BOX), "tuple of 2: it must give a tuple"),
        ((PIXELS / 255, BOX, ONE), r"an array \(30, 40, 3\) of float64 for the image: it must be"),
        ((PIXELS[..., 0], BOX, ONE), r"an array \(30, 40\) of uint8 for the image"),
        ((torch.zeros(3), BOX, ONE), "Tensor.* for the image"),
        ((PIXELS[:0], BOX, ONE), r"an array \(0, 40, 3\) of uint8"),
        ((PIXELS, BOX[:, :3], ONE), r"boxes of shape \(1, 3\): they must be \(K, 4\)"),
        ((PIXELS, "no", ONE), "boxes or labels that are no numbers"),
        ((PIXELS, BOX, np.array([1, 2])), r"1 boxes and labels of shape \(2,\): there must be one"),
        ((PIXELS, BOX, np.array([1.5])), "labels that are no whole numbers"),
        ((PIXELS, BOX, ["one"]), "boxes or labels that are no numbers"),
        ((PIXELS, BOX, np.array([9])), "the label 9, which is the id of no class"),
        ((PIXELS, BOX * np.nan, ONE), "a box that is not finite"),
        ((PIXELS, BOX + 30, ONE), r"the box \[35.0, 34.0, 45.0, 42.0\].* within 40 x 30 pixels"),
        ((PIXELS, BOX[:, ::-1], ONE), r"the box .*: corners must be left, top"),
    ],
)
def test_what_cannot_be_trained_on_is_one_sentence(dataset: Any, given: Any, fault: str) -> None:
    """It names the function, the image, and what was wrong."""
    named = rf"the transform \S*test_own_transform:called.<locals>.odd gave for \S*1.png {fault}"
    with pytest.raises(DataError, match=named):
        dataset(called(given))[0]


def test_a_fault_of_its_own_is_one_sentence(dataset: Any) -> None:
    """With its kind, in one line, and the function's traceback behind it."""

    def broken(image: Any, boxes: Any, labels: Any, rng: Any) -> Any:
        raise KeyError("two\nlines")

    with pytest.raises(
        DataError, match=r"broken failed at \S*1\.png \(KeyError: [^\n]*\)$"
    ) as stop:
        dataset(broken)[0]
    assert isinstance(stop.value.__cause__, KeyError)


def test_a_callable_has_a_name() -> None:
    """Functions by theirs, objects by that of their class."""
    assert function_name(unchanged).endswith(":unchanged")

    class Pipeline:
        def __call__(self, *given: Any) -> Any:
            return given

    assert function_name(Pipeline()).endswith(":test_a_callable_has_a_name.<locals>.Pipeline")


@given(seed=st.integers(0, 2**31), count=st.integers(0, 5))
def test_random_boxes_go_through(seed: int, count: int) -> None:
    """Any boxes inside the image, as float32 or lists, are taken."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(-1, 4) * [40, 30, 40, 30]
    labels = rng.integers(1, 4, count)
    image = Image.fromarray(PIXELS)
    boxes = corners.astype(np.float32)
    checked = CheckedTransform(lambda *_: (PIXELS, boxes, labels), {1, 2, 3})
    _, objects = checked(image, Annotations(), rng, "a.png")
    assert np.allclose(objects.boxes_xywh[:, :2], corners[:, :2], atol=1e-4)
    assert objects.labels.tolist() == labels.tolist()
    assert np.allclose(objects.area, np.prod(corners[:, 2:] - corners[:, :2], 1), atol=0.01)
