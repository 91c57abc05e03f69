"""SIGTERM: finish the batch, save, and leave with a clear exception."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_train.callbacks.checkpoints import LATEST_NAME, Checkpoints, ends_update


class TrainingPreempted(Exception):  # noqa: N818 - nothing went wrong
    """A SIGTERM ended the run after its state was saved; the same command continues it."""

    def __init__(self, checkpoint: Path, epoch: int, step: int) -> None:
        super().__init__(
            f"stopped by SIGTERM in epoch {epoch} after step {step}; {checkpoint} holds the "
            "state, the same command continues"
        )
        self.checkpoint = checkpoint


class Preemption(Callback):
    """Turns SIGTERM into a checkpoint and `TrainingPreempted`, on all processes at once."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._asked = False
        self._previous: Any = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen, in the place of Lightning's own handler, which saves nothing."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save inside the epoch once an update is whole; the epoch's end saves by itself."""
        if ends_update(trainer, batch_idx) and self._is_asked(trainer):
            self._checkpoints.save_inside_epoch(trainer, batch_idx)
            self._leave(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave when the signal came in a validation, whose epoch is saved by now."""
        if trainer.current_epoch > 0 and self._is_asked(trainer):
            self._leave(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop listening."""
        self._restore()

    @override
    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Stop listening."""
        self._restore()

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _is_asked(self, trainer: Trainer) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(self._asked, all=False))

    def _leave(self, trainer: Trainer) -> None:
        latest = self._checkpoints.results_dir / LATEST_NAME
        raise TrainingPreempted(latest, trainer.current_epoch, trainer.global_step)

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None
