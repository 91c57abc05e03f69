"""Boxes that only the image itself can hold: the size that the JSON states is not believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.check import check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.loading import verify_images

Content = dict[str, Any]
Write = Callable[..., DataSource]
FAR_RIGHT = [30.0, 2.0, 9.0, 8.0]  # inside the image of 40 x 30 alone
NEAR = [5.0, 4.0, 10.0, 8.0]


@pytest.fixture
def read(content: Content, write_source: Write) -> Callable[..., tuple[list[Any], dict[str, int]]]:
    """Give boxes and faults of one image with a stated size, after all rules."""

    def run(stated_wh: tuple[int, int], *boxes: list[float]) -> tuple[list[Any], dict[str, int]]:
        image = content["images"][0] | dict(zip(("width", "height"), stated_wh, strict=True))
        rows = [content["annotations"][0] | {"id": n, "bbox": box} for n, box in enumerate(boxes)]
        source = write_source({**content, "images": [image], "annotations": rows})
        verified = verify_images(load_sources([source], num_classes=None))
        (record,) = verified.images
        assert (record.width, record.height) == (40, 30)
        report = check_dataset({"train": [source]})
        assert {name: report.counts.get(name, 0) for name in verified.faults} == verified.faults
        return record.boxes_xywh.tolist(), dict(verified.faults)

    return run


@pytest.mark.parametrize("stated_wh", [(30, 40), (20, 29), (1, 1), (20, 15)])
def test_a_size_too_small_for_the_boxes_costs_none(
    read: Callable[..., Any], stated_wh: tuple[int, int]
) -> None:
    """Sides exchanged, invented, or those of a thumbnail: the boxes stay as they are."""
    boxes, faults = read(stated_wh, FAR_RIGHT, NEAR)
    assert boxes == [FAR_RIGHT, NEAR]
    assert faults == {"other_image_size": 1}


def test_a_box_a_little_over_the_border_says_nothing_about_the_size(
    read: Callable[..., Any],
) -> None:
    """Boxes of an image that was made larger are scaled, sloppy ones too."""
    boxes, faults = read((20, 15), [15, 2, 6.5, 4], [1, 1, 10, 10])
    assert boxes == [[30, 4, 10, 8], [2, 2, 20, 20]]
    assert faults == {"clipped_box": 1, "resized_image": 1}


def test_more_boxes_outvote_one(read: Callable[..., Any]) -> None:
    """A size that holds most boxes, which the image does not hold, is that of the labels."""
    large = [[30, 40, 20, 15], [50, 2, 25, 50]]
    boxes, faults = read((80, 60), *large, [85, 2, 9, 9])
    assert boxes == [[15, 20, 10, 7.5], [25, 1, 12.5, 25]]
    assert faults == {"outside_box": 1, "resized_image": 1}


def test_boxes_beyond_both_sizes_are_dropped(read: Callable[..., Any]) -> None:
    """Such a box is no reason to doubt the size that the others fit."""
    boxes, faults = read((20, 15), [500, 2, 9, 9], [1, 1, 10, 10])
    assert boxes == [[2, 2, 20, 20]]
    assert faults == {"outside_box": 1, "resized_image": 1}


def test_an_image_that_cannot_be_read_keeps_its_stated_size(
    content: Content, write_source: Write
) -> None:
    """Reading labels alone needs no images."""
    content["annotations"][0]["bbox"] = [35, 2, 30, 9]
    source = write_source(content)
    (Path(source.image_dir) / "1.png").unlink()
    loaded = load_sources([source], num_classes=None)
    assert dict(loaded.faults) == {"clipped_box": 1}
    assert loaded.images[0].boxes_xywh[0].tolist() == [35, 2, 5, 9]


def test_boxes_of_the_upright_image_are_not_turned_again(
    content: Content, write_source: Write
) -> None:
    """The JSON has the size before the EXIF turn, its boxes are of after it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content["annotations"] = [
        content["annotations"][0] | {"id": 1, "bbox": [5, 25, 10, 14]},
        content["annotations"][0] | {"id": 2, "bbox": [1, 1, 20, 20]},
    ]
    source = write_source(content)
    Image.new("RGB", (40, 30)).save(Path(source.image_dir) / "1.png", exif=exif)
    verified = verify_images(load_sources([source], num_classes=None))
    assert dict(verified.faults) == {"other_image_size": 1}
    boxes = verified.images[0].boxes_xywh
    assert np.array_equal(boxes, [[5, 25, 10, 14], [1, 1, 20, 20]])
