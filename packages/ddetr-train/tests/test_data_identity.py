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


def test_a_threshold_belongs_to_the_data(dataset: DatasetConfig) -> None:
    """Other repetitions are another run; with another sampler there is none."""
    repeating = dataset.model_copy(
        update={"train_sampler": "repeat_factor", "repeat_threshold": 0.75}
    )
    found = identity(repeating)
    assert (found["train_sampler"], found["repeat_threshold"]) == ("repeat_factor", 0.75)
    assert "repeat_threshold" not in identity(dataset)


def test_a_run_that_repeats_is_as_long_as_it_says(
    run_training: Any, recorder: Any, dataset: DatasetConfig
) -> None:
    """Steps of an epoch, the plan's, and the sentence agree, in the epoch after a resume too."""
    repeating = dataset.model_copy(
        update={"train_sampler": "repeat_factor", "repeat_threshold": 1.0}
    )
    draws = DetectionDataModule(repeating, seed=0, num_classes=4).draws_per_epoch
    assert draws > 10  # images
    for epochs in (1, 2):
        recorder.events.clear()
        run_training(num_epochs=epochs, data=repeating)
        assert len(recorder.of("step")) == -(-draws // 2)
        told = recorder.text()
        assert told.count("are drawn more often") == 1
        assert f"an epoch has {draws} images, without it 10" in told
        assert f"steps: {-(-draws // 2)} an epoch" in told
