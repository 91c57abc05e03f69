"""What a run will take, known before its first step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ddetr_train.config import TrainConfig

_BYTES_PER_VALUE = 4
_GIGABYTE = 10**9
# Besides the kept epochs: latest, best, and the next one while it is written.
_WORKING_FILES = 3


class PlanError(ValueError):
    """A run cannot fit; the text says what it needs, what there is, and what to change."""


@dataclass(frozen=True)
class Plan:
    """Steps, memory and disk of a whole run."""

    steps_per_epoch: int
    total_steps: int
    checkpoint_bytes: int
    checkpoint_files: int
    batch_size: int = 1  # of one process
    batch_size_hw: tuple[int, int] = (0, 0)  # of the largest batch
    step_bytes: int = 0  # memory of a step with it, in one process
    is_measured: bool = False  # on the GPU; else estimated

    @property
    def disk_bytes(self) -> int:
        """Space that all checkpoints take together at most."""
        return self.checkpoint_bytes * self.checkpoint_files

    def lines(self) -> list[str]:
        """Say all of it, a sentence a line."""
        height, width = self.batch_size_hw
        how = "measured" if self.is_measured else "estimated"
        return [
            f"steps: {self.steps_per_epoch} an epoch, {self.total_steps} in all",
            f"memory: {readable_size(self.step_bytes)} a process ({how}) for the largest batch, "
            f"{self.batch_size} images of {height} x {width}",
            f"disk: {self.checkpoint_files} checkpoints of {self.checkpoint_bytes / 1e6:.0f} MB "
            f"each, {readable_size(self.disk_bytes)}",
        ]


def plan_run(
    config: TrainConfig, *, batches_per_epoch: int, num_values: int, num_trained: int
) -> Plan:
    """Count steps and bytes on the disk.

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
        kept = min(kept, config.keep_last_checkpoints + 1)  # the oldest goes after the newest came
    return Plan(
        steps_per_epoch=steps,
        total_steps=steps * config.num_epochs,
        checkpoint_bytes=(copies * num_values + moments * num_trained) * _BYTES_PER_VALUE,
        checkpoint_files=kept + _WORKING_FILES,
    )


def check_memory(plan: Plan, available_bytes: int, device: str) -> None:
    """Refuse a run whose largest batch does not fit.

    Raises:
        PlanError: it does not.
    """
    if plan.step_bytes > available_bytes:
        height, width = plan.batch_size_hw
        raise PlanError(
            f"a batch of {plan.batch_size} images of {height} x {width} needs "
            f"{readable_size(plan.step_bytes)}, {device} has {readable_size(available_bytes)}: "
            "lower dataset.batch_size or dataset.augmentation.scales, or set "
            "train.activation_checkpoint"
        )


def check_disk(plan: Plan, results_dir: Path, *, is_continued: bool = True) -> None:
    """Refuse a run whose checkpoints do not fit beside what is there already.

    Args:
        plan: of the run.
        results_dir: its folder.
        is_continued: its checkpoints take the place of those that are there.

    Raises:
        PlanError: they do not.
    """
    overwritten = results_dir.glob("*.pth") if is_continued else ()
    present = sum(path.stat().st_size for path in overwritten)
    free = free_disk_bytes(results_dir)
    if plan.disk_bytes - present > free:
        raise PlanError(
            f"{results_dir} has {readable_size(free)} free, the run's checkpoints need "
            f"{readable_size(plan.disk_bytes)}: set train.keep_last_checkpoints or a larger "
            "train.checkpoint_interval"
        )


def free_disk_bytes(folder: Path) -> int:
    """Free space where a folder is, or would be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def readable_size(count: int) -> str:
    """Write bytes in GB, or in MB where that would be next to nothing."""
    return f"{count / 1e9:.1f} GB" if count >= _GIGABYTE else f"{count / 1e6:.1f} MB"
