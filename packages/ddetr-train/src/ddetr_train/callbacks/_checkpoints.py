"""The checkpoint files of a run: latest, best, and one an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint
from typing_extensions import override

from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_data.files import remove_leftovers
from ddetr_train.callbacks._scoring import BEST_METRIC
from ddetr_train.callbacks.last_update import LastUpdate, Saved
from ddetr_train.checkpoints import (
    BEST_NAME,
    LATEST_NAME,
    STAGING_NAME,
    copy_whole,
    epoch_file_name,
    epoch_files,
)
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule, Position

# How Lightning counts the batches of a validation that it must take up again, from its first one.
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class Checkpoints(Checkpoint):
    """Writes every file under a staging name first and renames it to the latest one last.

    A kill at any moment leaves the previous latest file, from which the same files come again.
    """

    def __init__(
        self,
        results_dir: Path,
        config: TrainConfig,
        data: DetectionDataModule,
        observers: Sequence[Observer],
        last_update: LastUpdate,
    ) -> None:
        self.last_update = last_update
        self.results_dir = results_dir
        self.best_score: float | None = None
        self._config = config
        self._data = data
        self._observers = observers
        self._is_validating = False

    def state_dict(self) -> dict[str, Any]:
        """Hand the best score to the checkpoint."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score from a checkpoint."""
        self.best_score = state_dict["best_score"]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Remove what a killed run left half written or had not yet renamed."""
        if trainer.is_global_zero:
            remove_leftovers(self.results_dir)
            (self.results_dir / STAGING_NAME).unlink(missing_ok=True)
        latest = self.results_dir / LATEST_NAME
        begins_there = trainer.ckpt_path is not None and Path(trainer.ckpt_path) == latest
        saved = Saved(trainer.current_epoch, trainer.global_step) if begins_there else None
        self.last_update.watch(trainer, latest, saved)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh the latest file inside an epoch, every checkpoint_interval_steps updates."""
        interval = self._config.checkpoint_interval_steps
        if ends_update(trainer, batch_idx):
            if interval and trainer.global_step % interval == 0:
                self.save_inside_epoch(trainer, batch_idx)
            else:
                position = Position(trainer.current_epoch, batch_idx + 1)
                self.last_update.note(trainer, pl_module, position)
        self.last_update.end()

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Let nobody save half an update."""
        self.last_update.begin()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the epoch before anything in its validation can fail; the next start repeats it."""
        self._is_validating = True
        self.save_before_validation(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The validation has not failed."""
        self._is_validating = False

    @override
    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Keep no one waiting for an update, and say that a failed validation costs no epoch."""
        self.last_update.end()
        if self._is_validating and isinstance(exception, Exception) and trainer.is_global_zero:
            text = (
                f"the validation of epoch {trainer.current_epoch} has failed; "
                f"{self.results_dir / LATEST_NAME} has the epoch, and the same command goes on "
                "with its validation"
            )
            emit(self._observers, RunEvent("notice", text, epoch=trainer.current_epoch))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the epoch's files."""
        names = []
        score = pl_module.metrics.get(BEST_METRIC, math.nan)  # NaN too without any labelled object
        if score > (-math.inf if self.best_score is None else self.best_score):
            self.best_score = score
            names.append(BEST_NAME)
        if self._is_kept(trainer):
            names.append(epoch_file_name(trainer.current_epoch))
        self._save(trainer, names, Position(trainer.current_epoch + 1, 0))
        if trainer.is_global_zero:
            self._drop_old_files()

    def save_inside_epoch(self, trainer: Trainer, batch_idx: int) -> None:
        """Refresh the latest file after a batch that ended an update."""
        self._save(trainer, [], Position(trainer.current_epoch, batch_idx + 1))

    def save_before_validation(self, trainer: Trainer) -> None:
        """Refresh the latest file so that the next start repeats the validation at hand."""
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        counts = [(count, count.state_dict()) for count in (progress.total, progress.current)]
        for count, _ in counts:
            count.load_state_dict(_BEGUN)
        position = Position(trainer.current_epoch, int(trainer.num_training_batches))
        self._save(trainer, [], position, is_told=False)
        for count, state in counts:
            count.load_state_dict(state)

    def _save(
        self, trainer: Trainer, names: Sequence[str], position: Position, *, is_told: bool = True
    ) -> None:
        """Save the run's state as the latest checkpoint, and under the other names too."""
        self.last_update.begin()
        self.last_update.is_saving = True
        try:
            self._write(trainer, names, position)
        finally:
            self.last_update.is_saving = False
            self.last_update.end()
        self.last_update.saved = Saved(trainer.current_epoch, trainer.global_step)
        if is_told and trainer.is_global_zero:
            event = RunEvent(
                "checkpoint",
                f"saved {', '.join([LATEST_NAME, *names])}",
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                is_routine=not names,
            )
            emit(self._observers, event)

    def _write(self, trainer: Trainer, names: Sequence[str], position: Position) -> None:
        self._data.position = position
        staging = self.results_dir / STAGING_NAME
        trainer.save_checkpoint(staging)
        if trainer.is_global_zero:
            try:
                for name in names:
                    copy_whole(staging, self.results_dir / name)
                staging.replace(self.results_dir / LATEST_NAME)
            finally:
                staging.unlink(missing_ok=True)

    def _is_kept(self, trainer: Trainer) -> bool:
        ended = trainer.current_epoch + 1
        is_last = ended == trainer.max_epochs or trainer.should_stop
        return is_last or ended % self._config.checkpoint_interval == 0

    def _drop_old_files(self) -> None:
        if self._config.keep_last_checkpoints is not None:
            for path in epoch_files(self.results_dir)[: -self._config.keep_last_checkpoints]:
                path.unlink()


def ends_update(trainer: Trainer, batch_idx: int) -> bool:
    """Say whether the batch ended an optimiser step, and others follow in its epoch."""
    ended = batch_idx + 1
    return ended % trainer.accumulate_grad_batches == 0 and ended < int(
        trainer.num_training_batches
    )
