"""A run with a transform of one's own names it, and goes on with the same one alone."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
import pytest

from ddetr_data import DataError, DatasetConfig
from ddetr_model import ModelConfig
from ddetr_train import TrainConfig, train
from ddetr_train.checkpoints import ResumeError
from ddetr_train.data import DetectionDataModule


def inverted(image: Any, boxes: Any, labels: Any, rng: np.random.Generator) -> Any:
    return 255 - image, boxes, labels


def broken(image: Any, boxes: Any, labels: Any, rng: np.random.Generator) -> Any:
    raise KeyError("a mistake")


@pytest.fixture
def run(model_config: ModelConfig, dataset: DatasetConfig, tmp_path: Any, recorder: Any) -> Any:
    def run_with(transform: Any, epochs: int = 1, data: DatasetConfig = dataset) -> Any:
        config = TrainConfig(num_epochs=epochs, accelerator="cpu", activation_checkpoint=False)
        observers = [recorder]
        folder = tmp_path / "run"
        return train(model_config, data, config, folder, observers=observers, transform=transform)

    return run_with


def test_a_run_names_its_code_and_a_resume_asks_for_it(run: Any, recorder: Any) -> None:
    """Without it, or with another, the run does not go on; with the same it does."""
    run(inverted)
    assert "code of one's own" in recorder.text()
    assert "test_own_transform:inverted, changes each training image" in recorder.text()
    sentence = r"dataset\.transform is \S*:inverted there and None here\): .*--allow-code"
    with pytest.raises(ResumeError, match=sentence):
        run(None, epochs=2)
    with pytest.raises(ResumeError, match=r":inverted there and \S*:broken here"):
        run(broken, epochs=2)
    assert run(inverted, epochs=2).epochs == 2


def test_a_run_without_code_takes_none_on_the_way(run: Any) -> None:
    """It would be another training from there on."""
    run(None)
    with pytest.raises(ResumeError, match=r"transform is None there and \S*:inverted here"):
        run(inverted, epochs=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_its_fault_ends_the_run_by_name(run: Any, dataset: DatasetConfig, workers: int) -> None:
    """The function and the image are named, from a worker too."""
    data = dataset.model_copy(update={"workers": workers})
    with pytest.raises(DataError, match=r"transform \S*:broken failed at \S+\.jpg \(KeyError"):
        run(broken, data=data)


def test_what_cannot_be_sent_to_workers_is_refused_early(
    dataset: DatasetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where workers are not forked a lambda cannot reach them; without workers it may be one."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    for workers in (0, 1):
        data = dataset.model_copy(update={"workers": workers})
        build = {"seed": 0, "num_classes": 4}
        DetectionDataModule(data, transform=inverted, **build)
        if workers == 0:
            DetectionDataModule(data, transform=lambda *given: given[:3], **build)
            continue
        with pytest.raises(ValueError, match="define it in a module, or set"):
            DetectionDataModule(data, transform=lambda *given: given[:3], **build)
