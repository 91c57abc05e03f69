"""A mosaic shows four images, which and how is a function of seed, epoch and index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from ddetr_data import AugmentationConfig
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionDataset, Draw, Mosaic, TrainTransform
from ddetr_data.types import Annotations

AUGMENTATION = AugmentationConfig(scales=[60], random_resize_max_size=80)


@pytest.fixture
def labelled(write_source: Any, content: Any) -> Any:
    """Two images of 40 x 30 pixels; the second one's first object is a region."""
    content["annotations"][2] |= {"ignore": 1}
    source = write_source(content)
    return open_sources([source], num_classes=3, dataset_type="default", ignore_regions=True)


def samples(labelled: Any, probability: float, epoch: int = 0, own: Any = None) -> Any:
    config = AUGMENTATION.model_copy(update={"mosaic": probability})
    data = DetectionDataset(
        labelled, TrainTransform(config), 3, own_transform=own, mosaic=Mosaic.of(config)
    )
    data.set_epoch(epoch)
    return data


def test_without_it_nothing_is_drawn(labelled: Any) -> None:
    """The key's default leaves every sample as it was."""
    assert Mosaic.of(AUGMENTATION) is None
    with pytest.raises(ValidationError, match="mosaic"):
        AugmentationConfig(mosaic=1.5)


def test_a_mosaic_is_that_of_its_seed_epoch_and_draw(labelled: Any) -> None:
    """The same again in another dataset and order; another in the next epoch or draw."""
    data = samples(labelled, 1)
    first, other = data[0], data[Draw(0, 1)]
    data[1]
    again, later = samples(labelled, 1)[0], samples(labelled, 1, epoch=1)[0]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1]["boxes"], again[1]["boxes"])
    for changed in (other, later, samples(labelled, 0)[0]):
        assert first[0].shape != changed[0].shape or not torch.equal(first[0], changed[0])
    assert int(first[1]["image_id"]) == 1


def test_a_probability_is_how_often(labelled: Any) -> None:
    """Of many epochs; ones own transform sees four images where there is a mosaic, else one."""
    calls: list[int] = []

    def count(image: Any, boxes: Any, labels: Any, rng: Any) -> Any:
        calls.append(1)
        return image, boxes, labels

    for epoch in range(100):
        samples(labelled, 0.3, epoch, count)[0]
    assert 15 < (len(calls) - 100) / 3 < 45


def test_regions_stay_regions() -> None:
    """All columns of the objects go along, and areas follow the pixels."""
    image = Image.new("RGB", (40, 40))
    box, crowd = np.array([[10.0, 10.0, 20.0, 20.0]]), np.array([True])
    region = Annotations(box, np.array([1]), crowd, np.array([200.0]), crowd)
    parts = [(image, Annotations()), (image, region), (image, Annotations()), (image, region)]
    canvas, objects = Mosaic(1.0, 1000).join(parts, np.random.default_rng(0))
    assert canvas.size == (80, 80)
    assert objects.is_region.all()
    assert objects.is_crowd.all()
    assert len(objects) == 2
    assert np.allclose(objects.area, objects.boxes_xywh[:, 2:].prod(1) / 2)


def test_images_of_odd_sizes_are_joined() -> None:
    """From a single pixel to a stripe; no object does no harm."""
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 50), (200, 3)):
        parts = [(Image.new("RGB", size), Annotations())] * 4
        canvas, objects = Mosaic(1.0, 64).join(parts, rng)
        assert min(canvas.size) >= 2
        assert objects.boxes_xywh.shape == (0, 4)
