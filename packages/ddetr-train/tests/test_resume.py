"""A run that was killed continues as if it had not been."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ddetr_train.callbacks.checkpoints import LATEST_NAME
from ddetr_train.config import TrainConfig
from ddetr_train.events import RunEvent
from ddetr_train.trainer import train

KILLS = 10
OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "num_epochs": 3,
    "checkpoint_interval_steps": 2,
    "ema_decay": 0.9,
    "warmup_steps": 4,
    "optim": {"lr_scheduler": "AutoReduce", "lr": 1e-3},
}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    checkpoint = torch.load(folder / LATEST_NAME, weights_only=True)
    for part in ("state_dict", "current_model_state"):
        state |= {f"{part}.{name}": value for name, value in checkpoint.get(part, {}).items()}
    return state


class KillAt:
    """An observer that kills its process at the n-th event, with no time to tidy up."""

    def __init__(self, events: int) -> None:
        self._left = events

    def __call__(self, event: RunEvent) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_killed_anywhere_ends_with_the_same_weights(
    model_config, dataset, tmp_path, in_a_process
) -> None:
    """Ten kills at random events change no bit of the weights, their mean or the metrics."""
    config = TrainConfig.model_validate(OPTIONS)
    whole = train(model_config, dataset, config, tmp_path / "whole")
    rng = random.Random(6)
    for _ in range(KILLS):
        observer = KillAt(rng.randint(2, 12))
        in_a_process(
            lambda: (
                train(model_config, dataset, config, tmp_path / "cut", observers=[observer])
                and None
            )
        )
    cut = train(model_config, dataset, config, tmp_path / "cut")
    assert cut.metrics == pytest.approx(whole.metrics, nan_ok=True, abs=0)
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
