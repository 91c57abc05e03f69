"""A training that may begin: everything around Lightning's Trainer."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytorch_lightning as pl

from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_model import ModelConfig
from ddetr_train.callbacks import LastUpdate, SameStart, TrainingPreempted, choose_callbacks
from ddetr_train.checkpoints import (
    BEST_NAME,
    LATEST_NAME,
    AtomicCheckpointIO,
    Resume,
    left_behind,
    move_aside,
    moved_notice,
)
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule, workers_named
from ddetr_train.engine._full_disk import folder_named
from ddetr_train.engine._loggers import build_loggers
from ddetr_train.engine._strategy import build_strategy, choose_precision, cluster_environment
from ddetr_train.module import DetectionModule
from ddetr_train.planning import Setup
from ddetr_train.process import (
    current_launch,
    folder_locked,
    is_first_process,
    memory_named,
    peers_named,
    quiet_lightning,
)

_LESS_MEMORY = (
    "lower dataset.batch_size, with train.accumulate_grad_batches for updates of as many images, "
    "or dataset.augmentation.scales, or set train.activation_checkpoint"
)
_LONGEST_UPDATE_SECONDS = 1.5  # that a rescue waits for one


@dataclass(frozen=True)
class TrainResult:
    """Where a run's files are and how it ended; a path is None where there is no such file."""

    best_checkpoint: Path | None
    latest_checkpoint: Path | None
    metrics: dict[str, float]
    epochs: int
    seconds: float


@dataclass(frozen=True)
class PreparedTraining:
    """A training of which all is checked and nothing is written yet."""

    setup: Setup
    files: AtomicCheckpointIO
    results_dir: Path
    resume: Resume | None
    began: float  # by time.monotonic
    architecture: ModelConfig
    module: DetectionModule | None = None  # None where nothing is left to train
    waiting_observers: Sequence[Observer] = ()  # also of a process that reports nothing else
    last_update: LastUpdate = field(default_factory=LastUpdate)

    @property
    def is_done(self) -> bool:
        """Whether the checkpoint that it would continue from has all epochs."""
        return self.resume is not None and self.resume.nothing_left is not None

    @property
    def config(self) -> TrainConfig:
        """The options that it truly has: a run that goes on may keep some of its checkpoint's.

        Of one that is done, those that it was trained with.
        """
        if self.resume is not None and self.is_done:
            return self.resume.stored
        return self.setup.config

    def set_aside(self, records: Sequence[str] = ()) -> Callable[[], None]:
        """Move what an earlier training left in the folder into `earlier_<n>`, and tell it.

        `run` does so by itself, before anything of its own is written.

        Args:
            records: names or patterns of files of the caller's that go along.

        Returns:
            What takes it back.

        Raises:
            OSError: the folder cannot be written.
        """
        may = is_first_process() and not self.setup.config.is_dry_run and not self.is_done
        paths = left_behind(self.results_dir, self.resume, self.files, records) if may else None
        if paths is None:
            return _nothing
        folder, take_back = move_aside(self.results_dir, paths)
        text = moved_notice(self.results_dir, folder, paths, self.resume, self.files)
        self.setup.tell(text)
        return take_back

    def run(self) -> TrainResult:
        """Train, and write the results; as `train` from its first step on."""
        if self.resume is not None and self.module is None:
            return self._already_done(self.resume)
        if self.module is None:
            raise ValueError("nothing to run: prepare_training makes the module")
        lock = nullcontext() if self.setup.config.is_dry_run else folder_locked(self.results_dir)
        with quiet_lightning(), lock:
            self.set_aside()
            trainer = self._build_trainer()
            _fit(trainer, self.module, self.setup.data, self.resume)
        result = TrainResult(
            best_checkpoint=_existing(self.results_dir / BEST_NAME),
            latest_checkpoint=_existing(self.results_dir / LATEST_NAME),
            metrics=dict(self.module.metrics),
            epochs=trainer.current_epoch,
            seconds=time.monotonic() - self.began,
        )
        if trainer.is_global_zero:
            early = ", stopped early" if trainer.should_stop else ""
            text = f"trained {result.epochs} epochs in {result.seconds:.0f} s{early}"
            emit(self.setup.observers, RunEvent("finished", text, metrics=result.metrics))
        return result

    def rescue(self) -> str:
        """Save what can be saved while `run` is stuck in another thread; say where it is.

        Called before the process is ended from outside. It takes some seconds at most, and longer
        only where a checkpoint is being written.
        """
        try:
            is_whole = self.last_update.save(wait_seconds=_LONGEST_UPDATE_SECONDS)
        except OSError as error:
            return f"the state could not be saved ({error})"
        finally:
            self.last_update.end_processes()
        saved, latest = self.last_update.saved, self.results_dir / LATEST_NAME
        if saved is None:
            return ""
        why = "" if is_whole else "it was in the middle of an update; "
        return f"{why}{latest} holds the state of epoch {saved.epoch} after step {saved.step}"

    def _already_done(self, resume: Resume) -> TrainResult:
        text = resume.nothing_left or ""
        self.setup.tell(text)
        emit(self.setup.observers, RunEvent("finished", text, metrics=resume.metrics))
        return TrainResult(
            best_checkpoint=_existing(self.results_dir / BEST_NAME),
            latest_checkpoint=resume.path,
            metrics=resume.metrics,
            epochs=resume.epochs_done,
            seconds=0.0,
        )

    def _build_trainer(self) -> pl.Trainer:
        """Set up Lightning for the options; a dry run logs and keeps nothing."""
        config, devices, data = self.setup.config, self.setup.devices, self.setup.data
        is_dry_run = config.is_dry_run
        found = self.resume.steps_done if self.resume else None
        steps_done = found or 0
        callbacks = choose_callbacks(
            config, self.results_dir, data, self.setup.observers, self.last_update, self.resume
        )
        return pl.Trainer(
            accelerator=devices.accelerator,
            devices=devices.devices,
            num_nodes=config.num_nodes,
            strategy=build_strategy(config, devices, self._tell_waiting),
            precision=choose_precision(config),
            max_epochs=1 if is_dry_run else config.num_epochs,
            limit_train_batches=1 if is_dry_run else None,
            limit_val_batches=1 if is_dry_run else None,
            check_val_every_n_epoch=1 if is_dry_run else config.validation_interval,
            accumulate_grad_batches=config.accumulate_grad_batches,
            deterministic=config.deterministic,
            callbacks=[SameStart(self.results_dir, found), *callbacks],
            plugins=[self.files, cluster_environment(current_launch(by_hand=True))],
            logger=False if is_dry_run else build_loggers(config, self.results_dir, steps_done),
            default_root_dir=self.results_dir,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=not is_dry_run,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def _tell_waiting(self, text: str) -> None:
        """Say on each machine what is waited for."""
        if current_launch(by_hand=True).local_rank == 0:
            emit(self.waiting_observers, RunEvent("waiting", text))


def _fit(
    trainer: pl.Trainer, module: DetectionModule, data: DetectionDataModule, resume: Resume | None
) -> None:
    """Run Lightning; Ctrl+C stays a KeyboardInterrupt, where Lightning would exit the process."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    path = resume.path if resume else None
    try:
        with (
            peers_named(trainer.world_size),
            folder_named(Path(trainer.default_root_dir)),
            workers_named(data),
            memory_named(data.batch_size, data.worst_size_hw(), _LESS_MEMORY),
        ):
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    except TrainingPreempted as stop:
        if stop.cause != signal.SIGINT.name:
            raise
        raise KeyboardInterrupt(str(stop)) from stop
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None


def _nothing() -> None:
    """Take back nothing."""


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
