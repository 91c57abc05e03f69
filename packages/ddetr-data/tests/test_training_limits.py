"""Labels that a training cannot learn: told at its start and by the check, by the same rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data import AugmentationConfig, CheckOptions, CheckReport, DataSource, check_dataset
from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.loading import TrainingLimits, boxes_below_stride, training_notices

SIZES = AugmentationConfig(scales=(100, 200, 400), random_resize_max_size=400)
LIMITS = TrainingLimits(
    num_classes=4, num_queries=5, finest_stride=8, augmentation=SIZES, images_a_step=2
)
OPTIONS = CheckOptions(
    num_classes=4, num_queries=5, finest_stride=8, augmentation=SIZES, images_a_step=2, decode=False
)
FAULTS = {
    "no_training_objects", "no_validation_objects", "box_below_stride", "fewer_images_than_batch",
    "classes_of_no_use", "more_objects_than_queries", "unused_category",
}  # fmt: skip


def table(objects: dict[int, list[int]], side: float = 40.0, classes: int = 3) -> dict[str, Any]:
    """Images of 100 x 100 pixels by id, with a square box for each of their category ids."""
    rows = [(image, label) for image, labels in objects.items() for label in labels]
    return {
        "images": [
            {"id": id, "file_name": f"{id}.png", "width": 100, "height": 100} for id in objects
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": label, "bbox": [n, n, side, side]}
            for n, (image, label) in enumerate(rows, start=1)
        ],
        "categories": [{"id": id, "name": f"class of {id}"} for id in range(1, classes + 1)],
    }


Told = Callable[..., tuple[list[str], CheckReport]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Write sets; gives the notices of a training on them, and the report of a check."""

    def both(
        train: dict[str, Any], val: dict[str, Any] | None = None, **limits: Any
    ) -> tuple[list[str], CheckReport]:
        sources, loaded = {}, dict[str, DetectionSet]()
        for split, content in {"train": train, "val": val}.items():
            if content is None:
                continue
            folder = tmp_path / split
            folder.mkdir(exist_ok=True)
            for image in content["images"]:
                Image.new("RGB", (100, 100), (image["id"], 0, len(split))).save(
                    folder / image["file_name"]
                )
            (folder / "labels.json").write_text(json.dumps(content))
            source = DataSource(image_dir=str(folder), json_file=(str(folder / "labels.json"),))
            sources[split] = [source]
            loaded[split] = load_sources([source], num_classes=None)
        notices = training_notices(loaded["train"], loaded.get("val"), replace(LIMITS, **limits))
        as_lists = [
            replace(each, images=list(each.images)) if each else None
            for each in (loaded["train"], loaded.get("val"))
        ]
        assert training_notices(as_lists[0], as_lists[1], replace(LIMITS, **limits)) == notices
        return notices, check_dataset(sources, replace(OPTIONS, **limits))

    return both


def found(report: CheckReport) -> dict[str, int]:
    return {name: count for name, count in report.counts.items() if name in FAULTS}


def test_nothing_is_said_of_a_set_that_fits(told: Told) -> None:
    """Every class in both sets, boxes of 80 pixels at the usual size, enough queries and images."""
    good = table({1: [1, 2], 2: [3]})
    notices, report = told(good, table({3: [1, 2, 3]}))
    assert notices == []
    assert found(report) == {}


def test_a_class_that_only_validation_has(told: Told) -> None:
    """It is not learnt, and what is labelled so counts as missed: a warning."""
    notices, report = told(table({1: [1], 2: [2]}), table({3: [1, 2, 3]}))
    assert len(notices) == 1
    assert "dataset.train_data_sources, which cannot be learnt: class of 3: label" in notices[0]
    assert found(report) == {"no_training_objects": 1}
    assert report.exit_status == 1


def test_a_class_that_no_set_has(told: Told) -> None:
    """The training tells it too; the check has it as a category without any object."""
    notices, report = told(table({1: [1], 2: [2]}))
    assert len(notices) == 1
    assert "cannot be learnt: class of 3:" in notices[0]
    assert found(report) == {"unused_category": 1}


def test_a_class_that_validation_lacks(told: Told) -> None:
    """It has no AP; with eval_class_ids only those count that are validated."""
    train, val = table({1: [1, 2], 2: [3]}), table({3: [1, 3]})
    notices, report = told(train, val)
    assert len(notices) == 1
    assert "dataset.val_data_sources: class of 2: they have no AP" in notices[0]
    assert found(report) == {"no_validation_objects": 1}
    notices, report = told(train, val, eval_class_ids=(1, 3))
    assert notices == []
    assert found(report) == {}


def test_more_objects_than_queries(told: Told) -> None:
    """How many images, the most, and the number to set."""
    notices, report = told(table({1: [1, 2, 3, 1, 2, 3, 1], 2: [1]}))
    assert len(notices) == 1
    assert notices[0].startswith("1 training images have more objects than model.num_queries (5)")
    assert notices[0].endswith("set model.num_queries=7 or more")
    assert found(report) == {"more_objects_than_queries": 1}


@pytest.mark.parametrize(("side", "is_told"), [(3.9, True), (4.1, False)])
def test_boxes_that_shrink_below_the_stride(told: Told, side: float, is_told: bool) -> None:
    """Images of 100 pixels are trained at 200: a box of 4 pixels is one of the finest level."""
    notices, report = told(table({1: [1, 2], 2: [3]}, side=side))
    assert bool(notices) == is_told
    assert found(report) == ({"box_below_stride": 3} if is_told else {})
    if is_told:
        assert notices[0].startswith("100% of the training boxes are smaller than 8 x 8 pixels")
        for key in ("dataset.augmentation.scales", "model.return_interm_indices"):
            assert key in notices[0]
        (finding,) = [each for each in report.findings if each.fault == "box_below_stride"]
        assert finding.locations == ("image 1: 2 boxes", "image 2: 1 boxes")


def test_a_few_small_boxes_are_in_every_set(told: Told) -> None:
    """One in thirty is not told."""
    train = table({n: [1, 2, 3] for n in range(1, 11)})
    train["annotations"][4]["bbox"][2:] = [1, 1]
    notices, report = told(train)
    assert notices == []
    assert found(report) == {}


def test_the_usual_size_is_limited_by_the_long_side() -> None:
    """An image of 100 x 400 at most 400 long is not enlarged; with jitter the long side counts."""
    sizes_wh, boxes = np.array([[400, 100], [100, 100]], np.int32), np.array([[0, 0, 7.9, 7.9]] * 2)
    assert boxes_below_stride(boxes, sizes_wh, LIMITS).tolist() == [True, False]
    jitter = replace(LIMITS, augmentation=AugmentationConfig(fixed_random_crop=64))
    assert boxes_below_stride(boxes, sizes_wh, jitter).tolist() == [True, True]
    assert not boxes_below_stride(boxes, sizes_wh, TrainingLimits()).any()


def test_fewer_images_than_a_step_takes(told: Told) -> None:
    """A batch that is never full."""
    notices, report = told(table({1: [1, 2, 3]}))
    assert len(notices) == 1
    assert "dataset.batch_size" in notices[0]
    assert found(report) == {"fewer_images_than_batch": 1}


def test_classes_that_only_the_model_has(told: Told) -> None:
    """A single class has id 1, so that two are needed and not one."""
    notices, report = told(table({1: [1], 2: [1]}, classes=1), num_classes=91)
    assert len(notices) == 1
    assert "num_classes is 91" in notices[0]
    assert "auto or 2 (" in notices[0]
    assert found(report) == {"classes_of_no_use": 89}
    assert told(table({1: [1], 2: [1]}, classes=1), num_classes=2)[0] == []
