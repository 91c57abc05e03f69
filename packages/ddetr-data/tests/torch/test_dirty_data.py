"""A set with every kind of mendable fault goes through an epoch, and no good row is lost."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from ddetr_data.coco import load_sources
from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionDataset, DetectionSampler, TrainTransform, collate

Content = dict[str, Any]
Write = Callable[..., DataSource]

BAD_BOXES: tuple[object, ...] = (
    None, [], [1, 2, 3], "box", [float("nan"), 1, 2, 3], [1, 1, -5, 5], [1, 1, 0, 5],
    [500, 1, 5, 5], [0, 0, 1e9, 5], ["a", 1, 2, 3], [1, 2, None, 4], {"x": 1},
)  # fmt: skip
SMALL = AugmentationConfig(
    scales=[32, 48],
    train_random_resize=[32],
    train_random_crop_min=16,
    train_random_crop_max=32,
    random_resize_max_size=64,
)


@pytest.fixture
def dirty(content: Content, write_source: Write) -> DataSource:
    """Two good images with four good boxes, among faults of every kind."""
    good = copy.deepcopy(content["annotations"][0])
    for number, box in enumerate(BAD_BOXES, 100):
        content["annotations"].append({**good, "id": number, "bbox": box})
    content["annotations"] += [None, {**good, "id": 200, "image_id": 99}, {"id": "x"}]
    for name in ("missing.png", "empty.png", "cut.png"):
        row = {"id": name, "file_name": name, "width": 40, "height": 30}
        content["images"].append(row)
    source = write_source(content)
    folder = Path(source.image_dir)
    (folder / "missing.png").unlink()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:200])
    return source


@pytest.mark.parametrize("dataset_type", ["serialized", "default"])
def test_an_epoch_of_a_dirty_set_is_clean(
    dirty: DataSource, tmp_path: Path, dataset_type: Any
) -> None:
    """What is left is exactly what was good."""
    loaded = open_sources(
        [dirty],
        num_classes=3,
        dataset_type=dataset_type,
        corrupt_images="skip",
        cache_dir=tmp_path / "cache",
    )
    assert [len(record.annotations) for record in loaded.images] == [2, 2]
    assert loaded.faults["missing_image"] == 1
    assert loaded.faults["unreadable_image"] == 2
    dataset = DetectionDataset(loaded, TrainTransform(SMALL))
    sampler = DetectionSampler.over(loaded)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for batch in DataLoader(dataset, 2, sampler=sampler, collate_fn=collate):
            assert torch.isfinite(batch.images).all()
            for target in batch.targets:
                assert torch.isfinite(target["boxes"]).all()
                assert (target["boxes"][:, 2:] > 0).all()
                assert set(target["labels"].tolist()) <= {1, 2}


def test_an_image_damaged_in_its_middle_is_passed_over(
    content: Content, write_source: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """With the policy skip a sample that cannot be decoded gives way to the next, and is named."""
    source = write_source(content)
    (Path(source.image_dir) / "2.png").write_bytes(b"\x89PNG broken IEND")
    loaded = load_sources([source], num_classes=None)
    dataset = DetectionDataset(loaded, TrainTransform(SMALL), corrupt_images="skip")
    with caplog.at_level(logging.WARNING):
        assert int(dataset[1][1]["image_id"]) == 1
    assert "2.png" in caplog.text
