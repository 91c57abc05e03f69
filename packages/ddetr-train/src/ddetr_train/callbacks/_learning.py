"""Tells in the course of a run that nothing is learnt, and what to change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_train.callbacks._scoring import BEST_METRIC
from ddetr_train.config import TrainConfig
from ddetr_train.learning_guard import EpochFigures, LearningGuard

logger = logging.getLogger(__name__)


class Learning(Callback):
    """Hands each epoch's figures to a LearningGuard, whose memory goes with the checkpoints."""

    def __init__(self, config: TrainConfig, observers: Sequence[Observer]) -> None:
        self._guard = LearningGuard(config)
        self._observers = observers

    @property
    @override
    def state_key(self) -> str:
        """The name under which checkpoints have it."""
        return "LearningGuard"

    @override
    def state_dict(self) -> dict[str, Any]:
        """Hand the memory to the checkpoint."""
        return self._guard.state

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a checkpoint's."""
        self._guard.restore(state_dict)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note where the loss began."""
        self._guard.note_batch(pl_module.step_metrics["step_loss"], trainer.current_epoch)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Tell what is new, on the first process; all have the same epochs' figures."""
        epoch = trainer.current_epoch
        figures = EpochFigures(
            epoch,
            pl_module.metrics["train_loss"],
            pl_module.metrics.get(BEST_METRIC),
            trainer.global_step,
            is_last=epoch + 1 == trainer.max_epochs or trainer.should_stop,
        )
        for text in self._guard.after_epoch(figures):
            logger.info("epoch=%d %s", epoch, text)
            if trainer.is_global_zero:
                event = RunEvent(
                    "notice", text, epoch=epoch, step=trainer.global_step, is_warning=True
                )
                emit(self._observers, event)
