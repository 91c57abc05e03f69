"""What a checkpoint says of the data of its run, by which a resume knows them again."""

from __future__ import annotations

from typing import Any

from ddetr_data import AugmentationConfig, DatasetConfig
from ddetr_train.data import DetectionDataModule


def identity(dataset: DatasetConfig, **augmentation: Any) -> dict[str, Any]:
    block = AugmentationConfig(**dataset.augmentation.model_dump() | augmentation)
    data = dataset.model_copy(update={"augmentation": block})
    return DetectionDataModule(data, seed=0, num_classes=4).identity()


def test_what_is_off_is_not_written(dataset: DatasetConfig) -> None:
    """So checkpoints from before there was such a key go on."""
    assert "color_jitter" not in identity(dataset)["augmentation"]


def test_what_is_on_is_written(dataset: DatasetConfig) -> None:
    """Other colours are other data."""
    assert identity(dataset, color_jitter=0.5)["augmentation"]["color_jitter"] == 0.5
