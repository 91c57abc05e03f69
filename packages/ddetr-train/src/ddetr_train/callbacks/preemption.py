"""A signal that ends a run: finish the batch, save, and leave with a clear exception."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_train.callbacks._checkpoints import Checkpoints, ends_update
from ddetr_train.callbacks.last_update import Saved
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.data import DetectionDataModule
from ddetr_train.process import SAME_REQUEST_SECONDS, current_launch, ending_signals

# For the batch at hand; then the state of the last update is saved wherever the run is.
_PATIENCE_SECONDS = 3.0


class TrainingPreempted(Exception):  # noqa: N818 - nothing went wrong
    """A signal ended the run after its state was saved; the text says how to continue."""

    def __init__(
        self,
        cause: str,
        checkpoint: Path,
        saved: Saved | None,
        *,
        began_elsewhere: bool = False,
    ) -> None:
        """Say what the checkpoint holds; None: no update had ended, so there is none."""
        how = "the same command continues"
        if began_elsewhere:
            how += " without train.resume_training_checkpoint_path, which begins there again"
        super().__init__(
            f"stopped by {cause} in epoch {saved.epoch} after step {saved.step}; {checkpoint} "
            f"holds the state, {how}"
            if saved
            else f"stopped by {cause} before the first update: the same command begins anew"
        )
        self.cause = cause
        self.checkpoint = checkpoint if saved else None


class Preemption(Callback):
    """Turns a signal into a checkpoint and `TrainingPreempted`, on all processes at once.

    SIGTERM, Ctrl+C, after which a KeyboardInterrupt is raised, and SIGHUP unless it was ignored;
    under SLURM, which announces the end of a job's time with a signal of choice, SIGUSR1 too.
    A validation is left after its batch, with the state in which it began; the next start repeats
    it. A batch that does not end, because no image comes or a step takes a minute, is left too,
    some seconds after the signal or at a second one.
    """

    def __init__(self, checkpoints: Checkpoints, began_from: Path | None = None) -> None:
        """Listen for the run of these checkpoints.

        Args:
            began_from: the checkpoint that the options name, from which the next start begins too.
        """
        self._checkpoints = checkpoints
        self._began_from = began_from
        self._cause = ""  # the signal that came to this process
        self._asked = 0.0  # when the first did
        self._left_validation = False
        self._previous: dict[signal.Signals, Any] = {}
        self._trainer: Trainer | None = None  # while listening
        self._waiters: list[threading.Timer] = []
        self._listening = threading.Lock()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen instead of Lightning's own handler, which saves nothing."""
        if threading.current_thread() is threading.main_thread():
            self._trainer = trainer
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
            self._leave()

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
            self._leave()

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave when the signal came after an epoch's last batch, when all of it is saved."""
        if trainer.current_epoch > 0 and self._is_asked(trainer):
            self._leave()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop listening."""
        self._restore()

    @override
    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Stop listening."""
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Ask for the end of the batch; asked again, leave the batch."""
        is_first, self._cause = not self._cause, signal.Signals(number).name
        now = time.monotonic()
        if not is_first:
            if now - self._asked > SAME_REQUEST_SECONDS:
                self._leave_batch()
            return
        self._asked = now
        if number in ending_signals():
            waiter = threading.Timer(_PATIENCE_SECONDS, self._ask_again, [number])
            waiter.daemon = True
            self._waiters.append(waiter)
            waiter.start()

    def _ask_again(self, number: int) -> None:
        """Send the signal to the main thread, where a handler may raise."""
        main = threading.main_thread().ident
        with self._listening:
            if self._trainer is not None and main is not None and hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, number)

    def _leave_batch(self) -> None:
        """Leave wherever the run is, unless the state is half changed: that soon ends."""
        if self._trainer is None or not self._checkpoints.last_update.save():
            return
        data = getattr(self._trainer, "datamodule", None)
        if isinstance(data, DetectionDataModule):
            data.end_workers()
        self._checkpoints.last_update.end_processes()
        self._leave()

    def _is_asked(self, trainer: Trainer) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(bool(self._cause), all=False))

    def _leave(self) -> None:
        latest = self._checkpoints.results_dir / LATEST_NAME
        given = self._began_from
        raise TrainingPreempted(
            self._cause or "a signal to another process",
            latest,
            self._checkpoints.last_update.saved,
            began_elsewhere=given is not None and given.resolve() != latest.resolve(),
        )

    def _restore(self) -> None:
        with self._listening:
            self._trainer = None
        while self._waiters:
            self._waiters.pop().cancel()
        while self._previous:
            signal.signal(*self._previous.popitem())


def _signals() -> list[signal.Signals]:
    by_slurm = [signal.SIGUSR1] if current_launch(by_hand=True).in_slurm_job else []
    return [*ending_signals(), *by_slurm]
