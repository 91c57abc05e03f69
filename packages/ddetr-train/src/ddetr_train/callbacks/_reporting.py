"""Turns what Lightning does into RunEvents and TensorBoard figures, both from one record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_data.detection import EventKind, Observer, RunEvent, emit
from ddetr_train.module import learning_rates
from ddetr_train.planning import peak_process_bytes

_CLOCK_TICK = 1e-6  # seconds; coarse clocks show none between two quick batches


class Reporting(Callback):
    """Tells the observers, on the first process only, and writes the same figures to the logger."""

    def __init__(self, observers: Sequence[Observer], *, verbose: bool = False) -> None:
        self._observers = observers
        self._verbose = verbose
        self._began_at = 0.0
        self._began_step = 0
        self._last_batch_at = 0.0
        self._total_steps = 0
        self._rates: dict[str, float] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Announce the run."""
        self._began_at = self._last_batch_at = time.monotonic()
        self._began_step = trainer.global_step
        self._total_steps = trainer.global_step + _steps_left(trainer)
        self._rates = learning_rates(trainer.optimizers[0])
        steps = f"{self._total_steps} steps in {trainer.max_epochs} epochs"
        done = f", continuing after {trainer.global_step}" if trainer.global_step else ""
        self._tell(trainer, "started", f"training for {steps}{done}")

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the rates of this batch's update, with `verbose` tell of a change."""
        rates = learning_rates(trainer.optimizers[0])
        if self._verbose and rates != self._rates:
            changes = ", ".join(f"{name}={value:.3g}" for name, value in rates.items())
            self._tell(trainer, "notice", f"learning rates changed to {changes}")
        self._rates = rates

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the batch's losses, and the rates of its update: the next one's may differ."""
        speed = self._speed(trainer, batch)
        self._record(trainer, "step", pl_module.step_metrics | self._rates | speed)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to measure the first batch."""
        self._last_batch_at = time.monotonic()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Report the validation's figures."""
        figures = {k: v for k, v in pl_module.metrics.items() if k.startswith("val_")}
        self._record(trainer, "validation", figures)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Report all figures of the epoch; its validation's are in the log already."""
        train_loss = {"train_loss": pl_module.metrics["train_loss"]}
        self._log(trainer, train_loss)
        self._tell(trainer, "epoch", f"epoch {trainer.current_epoch} ended", pl_module.metrics)

    def _speed(self, trainer: Trainer, batch: Any) -> dict[str, float]:
        """Measure from the last batch's end to this one's, loading included, and the memory."""
        now = time.monotonic()
        images = len(batch.images) * trainer.world_size
        figures = {"images_per_second": images / max(now - self._last_batch_at, _CLOCK_TICK)}
        self._last_batch_at = now
        return figures | {"peak_memory_gib": _peak_memory_bytes(trainer) / 2**30}

    def _record(self, trainer: Trainer, kind: EventKind, metrics: Mapping[str, float]) -> None:
        self._log(trainer, metrics)
        self._tell(trainer, kind, "", metrics)

    def _log(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(dict(metrics), step=trainer.global_step)

    def _tell(
        self,
        trainer: Trainer,
        kind: EventKind,
        message: str,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        if trainer.is_global_zero:
            event = RunEvent(
                kind,
                message,
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                total_steps=self._total_steps,
                eta_seconds=self._eta_seconds(trainer.global_step),
                metrics=dict(metrics or {}),
            )
            emit(self._observers, event)

    def _eta_seconds(self, step: int) -> float | None:
        done = step - self._began_step
        if not done:
            return None
        return (time.monotonic() - self._began_at) / done * (self._total_steps - step)


def _steps_left(trainer: Trainer) -> int:
    """Count the updates to come; those that were made may have had other batches."""
    loop, group = trainer.fit_loop, trainer.accumulate_grad_batches
    goes_on = loop.epoch_progress.current.ready > trainer.current_epoch  # inside an epoch
    done = loop.epoch_loop.batch_progress.current.ready if goes_on else 0
    of_epoch = -(-int(trainer.num_training_batches) // group)
    return (int(trainer.max_epochs or 0) - trainer.current_epoch) * of_epoch - -(-done // group)


def _peak_memory_bytes(trainer: Trainer) -> int:
    """Highest use so far: of the GPU by tensors, or of the machine's memory by this process."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_process_bytes()
