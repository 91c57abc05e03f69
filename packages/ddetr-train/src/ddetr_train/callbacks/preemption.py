"""SIGTERM, or SLURM's SIGUSR1: finish the batch, save, and leave with a clear exception."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_train.callbacks._checkpoints import Checkpoints, ends_update
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.process import current_launch


class TrainingPreempted(Exception):  # noqa: N818 - nothing went wrong
    """A signal ended the run after its state was saved; the text says how to continue."""

    def __init__(
        self, cause: str, checkpoint: Path, epoch: int, step: int, *, began_elsewhere: bool = False
    ) -> None:
        how = "the same command continues"
        if began_elsewhere:
            how += " without train.resume_training_checkpoint_path, which begins there again"
        super().__init__(
            f"stopped by {cause} in epoch {epoch} after step {step}; {checkpoint} holds the "
            f"state, {how}"
        )
        self.checkpoint = checkpoint


class Preemption(Callback):
    """Turns SIGTERM into a checkpoint and `TrainingPreempted`, on all processes at once.

    Under SLURM, which announces the end of a job's time with a signal of choice, SIGUSR1 too.
    A validation is left after its batch, with the state in which it began; the next start repeats
    it. The callback must come after the one that swaps in averaged weights and before the scoring.
    """

    def __init__(self, checkpoints: Checkpoints, began_from: Path | None = None) -> None:
        """Listen for the run of these checkpoints.

        Args:
            began_from: the checkpoint that the options name, from which the next start begins too.
        """
        self._checkpoints = checkpoints
        self._began_from = began_from
        self._cause = ""  # the signal that came to this process
        self._left_validation = False
        self._previous: dict[signal.Signals, Any] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen instead of Lightning's own handler, which saves nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in _signals():
                self._previous[number] = signal.signal(number, self._note)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save inside the epoch once an update is whole; the epoch's end saves by itself."""
        # Gradients that are summed up over batches are not in a checkpoint: only whole updates are.
        if ends_update(trainer, batch_idx) and self._is_asked(trainer):
            self._checkpoints.save_inside_epoch(trainer, batch_idx)
            self._leave(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Count a repeated validation from zero."""
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End the validation early; Lightning takes a StopIteration for the end of the images."""
        if self._is_asked(trainer):
            self._left_validation = True
            raise StopIteration

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave it before half of it is scored; the state from before it is saved."""
        if self._left_validation:
            self._leave(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave when the signal came after an epoch's last batch, when all of it is saved."""
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

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._cause = signal.Signals(number).name

    def _is_asked(self, trainer: Trainer) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(bool(self._cause), all=False))

    def _leave(self, trainer: Trainer) -> None:
        latest = self._checkpoints.results_dir / LATEST_NAME
        cause = self._cause or "a signal to another process"
        given = self._began_from
        raise TrainingPreempted(
            cause,
            latest,
            trainer.current_epoch,
            trainer.global_step,
            began_elsewhere=given is not None and given.resolve() != latest.resolve(),
        )

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def _signals() -> list[signal.Signals]:
    by_slurm = [signal.SIGUSR1] if current_launch(by_hand=True).in_slurm_job else []
    return [signal.SIGTERM, *by_slurm]
