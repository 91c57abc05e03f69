"""What a run will take, known before its first step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ddetr_train.config import TrainConfig

_BYTES_PER_VALUE = 4
# Besides the kept epochs: latest, best, and the next one while it is written.
_WORKING_FILES = 3


@dataclass(frozen=True)
class Plan:
    """Steps and disk of a whole run."""

    steps_per_epoch: int
    total_steps: int
    checkpoint_bytes: int
    checkpoint_files: int

    @property
    def disk_bytes(self) -> int:
        """Space that all checkpoints take together at most."""
        return self.checkpoint_bytes * self.checkpoint_files

    def __str__(self) -> str:
        return (
            f"{self.steps_per_epoch} steps an epoch, {self.total_steps} in all; "
            f"{self.checkpoint_files} checkpoints of {self.checkpoint_bytes / 1e6:.0f} MB each"
        )


def plan_run(
    config: TrainConfig, *, batches_per_epoch: int, num_values: int, num_trained: int
) -> Plan:
    """Count steps and bytes.

    Args:
        batches_per_epoch: of one process.
        num_values: of all parameters and buffers.
        num_trained: of the parameters that train, for which the optimiser keeps state.
    """
    steps = -(-batches_per_epoch // config.accumulate_grad_batches)
    moments = 2 if config.optim.optimizer == "AdamW" else 1
    copies = 1 if config.ema_decay is None else 2
    kept = -(-config.num_epochs // config.checkpoint_interval)
    if config.keep_last_checkpoints is not None:
        kept = min(kept, config.keep_last_checkpoints)
    return Plan(
        steps_per_epoch=steps,
        total_steps=steps * config.num_epochs,
        checkpoint_bytes=(copies * num_values + moments * num_trained) * _BYTES_PER_VALUE,
        checkpoint_files=kept + _WORKING_FILES,
    )


def check_disk(plan: Plan, results_dir: Path) -> None:
    """Refuse a run whose checkpoints do not fit beside what is there already.

    Raises:
        OSError: the text says how much is needed and what to change.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    present = sum(path.stat().st_size for path in results_dir.glob("*.pth"))
    free = shutil.disk_usage(results_dir).free
    if plan.disk_bytes - present > free:
        raise OSError(
            f"{results_dir} has {free / 1e9:.1f} GB free, the run's checkpoints need "
            f"{plan.disk_bytes / 1e9:.1f} GB: set train.keep_last_checkpoints or a larger "
            "train.checkpoint_interval"
        )
