"""Two processes on the CPU do what one would."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest
import torch

from ddetr_data.detection import Observer, RunEvent
from ddetr_data.torch import Batch
from ddetr_train import TorchDetector
from ddetr_train.callbacks import TrainingPreempted
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.config import TrainConfig
from ddetr_train.engine import train
from ddetr_train.module import DetectionModule
from ddetr_train.nan import NonFiniteError, replay
from ddetr_train.process import PeerEndedError

# Two processes add in another order than one.
RELATIVE_ERROR = 1e-4


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / LATEST_NAME, weights_only=True)[
        "state_dict"
    ]
    return state


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "launcher"),
    [("ddp", "torchrun"), ("fsdp", "torchrun"), ("ddp", "nodes"), ("ddp", "slurm")],
)
def test_two_processes_train_as_one(
    strategy, launcher, model_config, dataset, tmp_path, as_ranks
) -> None:
    """Two processes with one image each make the steps and scores of one process with two."""
    model = model_config.model_copy(update={"dropout_ratio": 0.0})
    options = {
        "accelerator": "cpu",
        "num_epochs": 1,
        "optim": {"optimizer": "SGD", "lr": 0.1, "lr_backbone": 0.1},
        "distributed_strategy": strategy,
    }
    spread = {"num_nodes": 2} if launcher == "nodes" else {}
    config = TrainConfig.model_validate(options | spread)
    halves = dataset.model_copy(update={"batch_size": 1})
    codes = as_ranks(lambda: train(model, halves, config, tmp_path / "two"), launcher)
    assert codes == [0, 0]
    alone = TrainConfig.model_validate(options | {"distributed_strategy": "ddp"})
    one = train(model, dataset, alone, tmp_path / "one")
    stored = torch.load(tmp_path / "two" / LATEST_NAME, weights_only=True)
    assert distance(weights(tmp_path / "one"), weights(tmp_path / "two")) < RELATIVE_ERROR
    stored["ddetr"]["metrics"].pop("val_loss")  # depends on which images share a batch
    for name, value in stored["ddetr"]["metrics"].items():
        assert math.isclose(value, one.metrics[name], rel_tol=RELATIVE_ERROR) or math.isnan(value)


@pytest.mark.slow
def test_a_sharded_run_resumes_and_loads_on_one_device(
    model_config, dataset, tmp_path, as_ranks
) -> None:
    """Its checkpoint is an ordinary file; two epochs equal one and one more."""
    options = {"accelerator": "cpu", "distributed_strategy": "fsdp"}

    def run(name: str, epochs: int) -> None:
        config = TrainConfig.model_validate(options | {"num_epochs": epochs})
        assert as_ranks(lambda: train(model_config, dataset, config, tmp_path / name)) == [0, 0]

    run("whole", 2)
    run("parts", 1)
    run("parts", 2)
    assert distance(weights(tmp_path / "whole"), weights(tmp_path / "parts")) == 0
    detector = TorchDetector(tmp_path / "parts" / LATEST_NAME)
    assert len(detector.categories) == 3


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_process_with_the_bad_picture_is_named_by_all(
    strategy, model_config, dataset, tmp_path, as_ranks, monkeypatch
) -> None:
    """None waits for the other, both say the same, and one file is kept, which replays."""
    options = {"accelerator": "cpu", "num_epochs": 1, "distributed_strategy": strategy}
    config = TrainConfig.model_validate(options)
    halves = dataset.model_copy(update={"batch_size": 1})
    step = DetectionModule.training_step

    def spoiled(self: DetectionModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.global_rank == 1 and batch_idx == 1:
            batch.images[0, 0, 3, 4] = math.inf
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "training_step", spoiled)

    def work() -> None:
        words = r"epoch 0, batch 1, process 1: the input of image \S+\.jpg is the first"
        with pytest.raises(NonFiniteError, match=words):
            train(model_config, halves, config, tmp_path / "run")

    assert as_ranks(work) == [0, 0]
    (evidence,) = (tmp_path / "run").glob("nan_*.pt")
    assert evidence.name == "nan_epoch_000_batch_1_rank_1.pt"
    assert str(replay(evidence).first_bad).startswith("the input of image")


@pytest.mark.slow
def test_the_mean_loss_of_a_broken_epoch_is_that_of_a_whole_one(
    model_config, dataset, tmp_path, as_ranks
) -> None:
    """Each of two processes goes on with its own losses, not with those of the first."""
    # fault 17
    config = TrainConfig.model_validate({"accelerator": "cpu", "num_epochs": 1})
    halves = dataset.model_copy(update={"batch_size": 1})

    def stop(event: RunEvent) -> None:
        if event.kind == "step" and event.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(name: str, *observers: Observer) -> None:
        train(model_config, halves, config, tmp_path / name, observers=observers)

    def broken() -> None:
        with pytest.raises(TrainingPreempted):
            run("broken", stop)

    assert as_ranks(lambda: run("whole")) == [0, 0]
    assert as_ranks(broken) == [0, 0]
    assert as_ranks(lambda: run("broken")) == [0, 0]
    whole, again = (
        torch.load(tmp_path / name / LATEST_NAME, weights_only=True)["ddetr"]["metrics"]
        for name in ("whole", "broken")
    )
    assert again["train_loss"] == whole["train_loss"]


@pytest.mark.slow
def test_a_process_that_is_gone_is_told_by_the_others(
    model_config, dataset, tmp_path, as_ranks, monkeypatch
) -> None:
    """The one that is left ends at once, and does not blame the network."""
    config = TrainConfig.model_validate({"accelerator": "cpu", "num_epochs": 1})
    step = DetectionModule.training_step

    def die(self: DetectionModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.global_rank == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "training_step", die)

    def work() -> None:
        with pytest.raises(PeerEndedError, match="another of the 2 processes has ended"):
            train(model_config, dataset, config, tmp_path / "run")

    assert as_ranks(work) == [0, -signal.SIGKILL]
