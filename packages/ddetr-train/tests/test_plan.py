"""What a run will take is known before its first step."""

from __future__ import annotations

import pytest

from ddetr_train.config import TrainConfig
from ddetr_train.plan import Plan, check_disk, plan_run


def plan(**options: object) -> Plan:
    config = TrainConfig.model_validate(options)
    return plan_run(config, batches_per_epoch=7, num_values=1000, num_trained=600)


def test_steps_follow_batches_and_accumulation() -> None:
    """A last, smaller group of batches makes a step too."""
    assert plan(num_epochs=3).total_steps == 21
    assert plan(num_epochs=3, accumulate_grad_batches=2).steps_per_epoch == 4


def test_checkpoints_hold_weights_and_moments() -> None:
    """AdamW keeps two moments of what trains, SGD one, and the mean weights are a second copy."""
    assert plan().checkpoint_bytes == 4 * (1000 + 2 * 600)
    assert plan(optim={"optimizer": "SGD"}).checkpoint_bytes == 4 * (1000 + 600)
    assert plan(ema_decay=0.9).checkpoint_bytes == 4 * (2000 + 2 * 600)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({"num_epochs": 8}, 8 + 3),
        ({"num_epochs": 8, "checkpoint_interval": 5}, 2 + 3),
        ({"num_epochs": 8, "keep_last_checkpoints": 2}, 2 + 3),
    ],
)
def test_files_follow_the_interval_and_the_limit(options, files) -> None:
    """Kept epochs, and latest, best and the next one beside them."""
    assert plan(**options).checkpoint_files == files


def test_a_run_that_does_not_fit_on_the_disk_is_refused(tmp_path) -> None:
    """The error comes before the first step and says what to change."""
    huge = Plan(1, 1, checkpoint_bytes=10**15, checkpoint_files=10)
    with pytest.raises(OSError, match="keep_last_checkpoints"):
        check_disk(huge, tmp_path)
    check_disk(plan(), tmp_path / "new")
