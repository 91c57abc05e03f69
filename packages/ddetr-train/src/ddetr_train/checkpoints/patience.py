"""How long a run has gone without a better validation, as its checkpoints hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddetr_train.config import TrainConfig

# Under which a checkpoint has the state of early stopping; the first ones were Lightning's.
PATIENCE_KEY = "EarlyStopping{'monitor': 'val_AP', 'mode': 'max'}"


@dataclass(frozen=True)
class Patience:
    """Validations without a better mAP than the best one's."""

    without_better: int = 0
    best_score: float | None = None
    best_epoch: int | None = None  # unknown in the first checkpoints
    counts_anew: bool = False  # from here on, for more epochs are asked for than it was stopped in

    @classmethod
    def of(
        cls, checkpoint: Mapping[str, Any], stored: TrainConfig, config: TrainConfig
    ) -> Patience:
        """Read a checkpoint's, for a run that goes on with config."""
        state = checkpoint.get("callbacks", {}).get(PATIENCE_KEY)
        if state is None:
            return cls()
        found = cls.from_state(state)
        wants_more = config.num_epochs > stored.num_epochs
        anew = wants_more and found.is_used_up(config)
        return cls(found.without_better, found.best_score, found.best_epoch, anew)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Patience:
        """Read what `state` gave."""
        best = float(state["best_score"])
        return cls(
            without_better=int(state["wait_count"]),
            best_score=best if best > float("-inf") else None,
            best_epoch=state.get("best_epoch"),
        )

    @property
    def state(self) -> dict[str, Any]:
        """Give what a checkpoint must carry."""
        return {
            "wait_count": self.without_better,
            "best_score": float("-inf") if self.best_score is None else self.best_score,
            "best_epoch": self.best_epoch,
        }

    @property
    def sentence(self) -> str:
        """Say how many validations were no better than which."""
        times = (
            "1 validation was"
            if self.without_better == 1
            else (f"{self.without_better} validations in a row were")
        )
        score = "an earlier one" if self.best_score is None else f"the mAP of {self.best_score:.4f}"
        epoch = "" if self.best_epoch is None else f" of epoch {self.best_epoch}"
        return f"{times} no better than {score}{epoch}"

    @property
    def notice(self) -> str | None:
        """Say that a run which was stopped goes on."""
        if not self.counts_anew:
            return None
        return (
            f"{self.sentence}; train.num_epochs is larger now, so the run goes on, and "
            "train.early_stopping_patience counts anew"
        )

    def is_used_up(self, config: TrainConfig) -> bool:
        """Say whether a run with these options stops here."""
        patience = config.early_stopping_patience
        return patience is not None and not self.counts_anew and self.without_better >= patience

    def after(self, score: float, epoch: int) -> Patience:
        """Count one more validation; a score that is NaN is no better than any."""
        if score > (float("-inf") if self.best_score is None else self.best_score):
            return Patience(0, score, epoch)
        return Patience(self.without_better + 1, self.best_score, self.best_epoch)

    def begun_anew(self) -> Patience:
        """Forget the validations without a better one, and keep the best."""
        return Patience(0, self.best_score, self.best_epoch)
