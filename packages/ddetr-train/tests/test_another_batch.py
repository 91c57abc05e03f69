"""A run that goes on with another number of processes, or of images a batch."""
# fault 18

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from ddetr_data.config import DatasetConfig
from ddetr_data.detection import RunEvent
from ddetr_data.torch import Batch
from ddetr_train.callbacks import TrainingPreempted
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.module import DetectionModule

IMAGES = 10
Start = Callable[..., list[int]]


def stop_after(step: int) -> Callable[[RunEvent], None]:
    """Ask for the end of the run after so many updates of all."""

    def observe(event: RunEvent) -> None:
        if event.kind == "step" and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return observe


@pytest.fixture
def start(run_training, dataset, monkeypatch) -> Start:
    """Train with images of so many a batch, and give the sums of the pixels in their order."""
    step = DetectionModule.training_step

    def run(images: int, *observers: Any, **options: Any) -> list[float]:
        seen: list[float] = []

        def watched(self: DetectionModule, batch: Batch, batch_idx: int) -> torch.Tensor:
            for image, mask in zip(batch.images, batch.mask, strict=True):
                seen.append(round(float(image[:, ~mask].double().sum()), 3))
            return step(self, batch, batch_idx)

        monkeypatch.setattr(DetectionModule, "training_step", watched)
        data: DatasetConfig = dataset.model_copy(
            update={"batch_size": images} | options.pop("data", {})
        )
        with suppress(TrainingPreempted):
            run_training(data=data, observers=observers, **options)
        return seen

    return run


@pytest.mark.parametrize("sampler", ["default_sampler", "uniform_sampler"])
@pytest.mark.parametrize(("first", "step", "then"), [(2, 1, 4), (2, 3, 3), (4, 1, 1), (1, 1, 10)])
def test_inside_an_epoch_it_goes_on_at_the_next_image(
    start, recorder, tmp_path, sampler, first, step, then
) -> None:
    """The same images in the same order and views as of a run that was left as it was."""
    options = {"data": {"train_sampler": sampler}, "num_epochs": 2}
    whole = start(2, **options, results_dir=tmp_path / "whole")
    assert len(whole) == 2 * IMAGES
    before = start(first, stop_after(step), **options)
    recorder.events.clear()
    after = start(then, **options)
    assert before + after == whole
    notice = (
        f"the global batch was {first} images (1 process x {first}) and is {then} images "
        f"(1 process x {then}) from here on; this epoch goes on after {first * step} of its 10"
    )
    assert recorder.text().count(notice) == 1
    assert [event.epoch for event in recorder.of("epoch")] == [0, 1]
    steps = {event.total_steps for event in recorder.of("step")}
    assert steps == {recorder.of("step")[-1].step}
    recorder.events.clear()
    start(then, **options | {"num_epochs": 3})
    assert "global batch" not in recorder.text()


def test_between_epochs_it_is_told_too(start, recorder) -> None:
    """The next epoch has the images of one that was left as it was."""
    start(2, num_epochs=1)
    recorder.events.clear()
    start(5, num_epochs=2)
    assert len(recorder.of("step")) == 2
    assert "was 2 images (1 process x 2) and is 5 images (1 process x 5)" in recorder.text()
    assert "this epoch" not in recorder.text()


def test_an_update_that_begins_inside_a_group_counts_as_a_whole_one(start, tmp_path) -> None:
    """With other batches the first group may have fewer of them; the epochs end as they should."""
    options = {"accumulate_grad_batches": 2, "num_epochs": 2}
    start(2, stop_after(1), **options)
    assert len(start(3, **options)) == IMAGES - 4 + IMAGES
    saved = torch.load(tmp_path / "run" / LATEST_NAME, weights_only=True)
    assert saved["DetectionDataModule"]["position"] == [2, 0]


def test_another_batch_only_waits_for_its_validation(start, recorder, monkeypatch) -> None:
    """Where all images of an epoch are done, none comes again."""
    validate = DetectionModule.validation_step

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(DetectionModule, "validation_step", fail)
    with pytest.raises(RuntimeError, match="broken"):
        start(2, num_epochs=2)
    monkeypatch.setattr(DetectionModule, "validation_step", validate)
    recorder.events.clear()
    assert len(start(3, num_epochs=2)) == IMAGES
    assert recorder.of("started")[0].total_steps == 5 + 4
    assert [event.epoch for event in recorder.of("epoch")] == [0, 1]
    assert [event.epoch for event in recorder.of("validation")] == [0, 1]


def test_auto_keeps_the_size_that_the_run_had(start, recorder) -> None:
    """What auto would find now does not change a run."""
    start(5, num_epochs=1)
    recorder.events.clear()
    start(2, num_epochs=2, batch_size="auto")
    assert len(recorder.of("step")) == 2
    assert "global batch" not in recorder.text()


@pytest.mark.slow
@pytest.mark.parametrize("step", [None, 1], ids=["between epochs", "inside an epoch"])
def test_another_number_of_processes_is_told(
    run_training, recorder, dataset, tmp_path: Path, as_ranks, in_a_process, step
) -> None:
    """Two where there was one: the order is kept, and one notice says what changes."""
    told = tmp_path / "told"

    def begin() -> None:
        observers = [stop_after(step)] if step else []
        options = {"num_epochs": 2 if step else 1, "validation_interval": 9}
        with suppress(TrainingPreempted):
            run_training(observers=observers, **options)

    def go_on() -> None:
        run_training(num_epochs=2)
        if text := recorder.text():
            told.write_text(text)

    assert in_a_process(begin) == 0
    assert as_ranks(go_on) == [0, 0]
    text = told.read_text()
    assert text.count("the global batch was 2 images (1 process x 2) and is 4 images (2 proc") == 1
    assert ("goes on after 2 of its 10 images" in text) == bool(step)
    saved = torch.load(tmp_path / "run" / LATEST_NAME, weights_only=True)
    assert saved["DetectionDataModule"]["position"] == [2, 0]
    assert saved["DetectionDataModule"]["processes"] == 2
    assert saved["global_step"] == (1 + 2 + 3 if step else 5 + 3)
    assert in_a_process(lambda: run_training(num_epochs=3)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(2, 1), (1, 2)], ids=str)
def test_the_mean_loss_is_that_of_all_batches(
    run_training, tmp_path: Path, as_ranks, in_a_process, monkeypatch, counts
) -> None:
    """What each process had added up until then is in the epoch's mean, whoever goes on."""
    # fault 17
    losses = tmp_path / "losses"
    step = DetectionModule.training_step

    def noted(self: DetectionModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        with losses.open("a") as file:
            file.write(f"{self.step_metrics['step_loss']}\n")
        return loss

    monkeypatch.setattr(DetectionModule, "training_step", noted)
    starts = {1: lambda work: [in_a_process(work)], 2: as_ranks}

    def begin() -> None:
        with suppress(TrainingPreempted):
            run_training(num_epochs=1, observers=[stop_after(1)])

    assert set(starts[counts[0]](begin)) == {0}
    assert set(starts[counts[1]](lambda: run_training(num_epochs=1))) == {0}
    values = [float(line) for line in losses.read_text().splitlines()]
    saved = torch.load(tmp_path / "run" / LATEST_NAME, weights_only=True)
    expected = sum(values) / len(values)
    assert saved["ddetr"]["metrics"]["train_loss"] == pytest.approx(expected)
