"""The end of a run whose validations are no longer better."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_train.callbacks._scoring import BEST_METRIC
from ddetr_train.checkpoints import PATIENCE_KEY, Patience
from ddetr_train.config import TrainConfig

logger = logging.getLogger(__name__)


class EarlyStopping(Callback):
    """Counts validations without a better mAP, and stops where the options say so.

    It counts without that option too: a later start may have it.
    """

    def __init__(
        self, config: TrainConfig, observers: Sequence[Observer], *, counts_anew: bool = False
    ) -> None:
        self._config = config
        self._observers = observers
        self._counts_anew = counts_anew
        self._patience = Patience()

    @property
    @override
    def state_key(self) -> str:
        """The name under which checkpoints have it."""
        return PATIENCE_KEY

    @override
    def state_dict(self) -> dict[str, Any]:
        """Hand the count to the checkpoint."""
        return self._patience.state

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting, or from zero where the person asked for more epochs."""
        found = Patience.from_state(state_dict)
        self._patience = found.begun_anew() if self._counts_anew else found

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Count; on every process alike, for all have the same scores."""
        self._patience = self._patience.after(pl_module.metrics[BEST_METRIC], trainer.current_epoch)
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        if self._patience.is_used_up(self._config) and not is_last:
            trainer.should_stop = True
            text = f"stopped early after epoch {trainer.current_epoch}: {self._patience.sentence}"
            logger.info("epoch=%d %s", trainer.current_epoch, text)
            if trainer.is_global_zero:
                event = RunEvent(
                    "notice", text, epoch=trainer.current_epoch, step=trainer.global_step
                )
                emit(self._observers, event)
