"""The state after the last finished update, which another thread can save."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import Tensor

from ddetr_train.data import DetectionDataModule, Position

_LONGEST_SAVE_SECONDS = 20.0


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: so many updates, in which epoch."""

    epoch: int
    step: int


@dataclass(frozen=True)
class _Note:
    """What the next batch changes before its update does: progress and live statistics."""

    position: Position
    saved: Saved
    loops: dict[str, Any]
    buffers: dict[str, Tensor]


class LastUpdate:
    """Weights and optimiser are those of the last update until the next one begins.

    In between, while a batch is loaded or gradients are computed, `save` may be called from any
    thread, and from a signal's handler. From the beginning of an update to `note`, and while a
    checkpoint is written, the state belongs to the training.
    """

    def __init__(self) -> None:
        self.saved: Saved | None = None  # what the latest checkpoint holds
        self.is_saving = False
        self._changing = threading.Lock()
        self._is_ours = False
        self._note: _Note | None = None
        self._trainer: Trainer | None = None
        self._path = Path()

    def watch(self, trainer: Trainer, path: Path, saved: Saved | None) -> None:
        """Begin with a training.

        Args:
            path: of its latest checkpoint.
            saved: what that holds of this training already.
        """
        self._trainer, self._path, self.saved = trainer, path, saved

    def begin(self) -> None:
        """Keep others from saving: the state changes."""
        if not self._is_ours:
            self._changing.acquire()
            self._is_ours = True
        self._note = None

    def end(self) -> None:
        """Let others save what was noted."""
        if self._is_ours:
            self._is_ours = False
            self._changing.release()

    def note(self, trainer: Trainer, module: Any, position: Position) -> None:
        """Note that an update has ended; one process can save alone where no other has a part."""
        if trainer.is_global_zero and module.config.distributed_strategy != "fsdp":
            self._note = _Note(
                position,
                Saved(trainer.current_epoch, trainer.global_step),
                trainer.fit_loop.state_dict(),
                _live_statistics(module),
            )

    def save(self, *, wait_seconds: float = 0.0) -> bool:
        """Save what was noted, if anything was, since the latest checkpoint.

        Args:
            wait_seconds: for the end of an update; a checkpoint that is being written has longer.

        Returns:
            False: the state is half changed, and only earlier checkpoints are whole.

        Raises:
            OSError: it cannot be written.
        """
        if not self._taken(wait_seconds):
            return False
        try:
            if self._note is not None and self._trainer is not None:
                _save(self._trainer, self._note, self._path)
                self.saved, self._note = self._note.saved, None
            return True
        finally:
            self._changing.release()

    def end_processes(self) -> None:
        """End the processes that Lightning, and no launcher, has started beside this one."""
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGTERM)

    def _taken(self, wait_seconds: float) -> bool:
        if self._changing.acquire(blocking=wait_seconds > 0, timeout=wait_seconds or -1):
            return True
        return self.is_saving and self._changing.acquire(timeout=_LONGEST_SAVE_SECONDS)


def _save(trainer: Trainer, note: _Note, path: Path) -> None:
    """Write what `Trainer.save_checkpoint` would have at the note, without waiting for others."""
    data = getattr(trainer, "datamodule", None)
    if isinstance(data, DetectionDataModule):
        data.position = note.position
    checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    checkpoint["loops"]["fit_loop"] = note.loops
    checkpoint["epoch"], checkpoint["global_step"] = note.saved.epoch, note.saved.step
    checkpoint.get("current_model_state", checkpoint["state_dict"]).update(note.buffers)
    trainer.strategy.save_checkpoint(checkpoint, path)


def _live_statistics(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copy what forward passes change."""
    return {
        f"{prefix}.{name}": buffer.detach().clone()
        for prefix, part in module.named_modules()
        if getattr(part, "track_running_stats", False)
        for name, buffer in part.named_buffers(recurse=False)
    }
