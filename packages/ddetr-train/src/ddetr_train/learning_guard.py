"""Signs that a training learns nothing, seen in its figures, each with the keys to change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddetr_train.config import TrainConfig

# Epochs after the first in which the loss must have fallen; warm-up and a slow start take some.
FLAT_EPOCHS = 5
# What counts as falling: means of epochs move by a few hundredths with the crops that are drawn.
LEAST_FALL = 0.05
# Before so many updates neither a flat loss nor a rising one says anything: on a set of a few
# images an epoch is a handful of them.
LEAST_UPDATES = 30
# Epochs that say together where the loss is now. One or two are a warm-up, a step too far, or the
# crops that were drawn.
LAST_EPOCHS = 3
# Above the first epoch's mean: more than means of epochs move by themselves.
RISEN = 1.1
# Above the first batch's loss, which is that of random weights and of few images: it may be half
# as large again as that of others, hence not less.
RISEN_ABOVE_FIRST_BATCH = 1.5
# An AP below it is none: it comes from boxes that fit by chance.
NO_AP = 0.001
# A validation with so much shows that something is learnt, whatever the loss does: a fine-tuning
# may begin near its end.
SOME_AP = 0.01
# Validations without any AP, and updates, before that is a sign. Blood cells have an AP of 0.23
# from random weights after 5 epochs of 52 updates (bccd_from_scratch.json); larger models need
# more.
EMPTY_VALIDATIONS = 3
EMPTY_UPDATES = 1000
# Part of the first weights that may be left in the averaged ones when the run ends.
MOST_OF_FIRST_WEIGHTS = 0.1
# With this part left, nothing of them is seen in a score; the decay that is advised leaves it.
_NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class EpochFigures:
    """What is known when an epoch ends."""

    epoch: int  # from 0
    train_loss: float  # mean of the epoch
    val_ap: float | None  # None where nothing was validated or labelled
    updates: int  # of the whole run so far
    is_last: bool = False


class LearningGuard:
    """Remembers losses and scores, and says each sign once in a run, resumed or not."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._first_batch: float | None = None
        self._losses: dict[int, float] = {}  # by epoch
        self._scores: dict[int, float] = {}
        self._told: list[str] = []  # names of signs

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint must carry."""
        return {
            "first_batch": self._first_batch,
            "losses": dict(self._losses),
            "scores": dict(self._scores),
            "told": list(self._told),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._first_batch = state["first_batch"]
        self._losses, self._scores = dict(state["losses"]), dict(state["scores"])
        self._told = list(state["told"])

    def note_batch(self, loss: float, epoch: int) -> None:
        """Remember the loss of the very first batch."""
        if self._first_batch is None and epoch == 0 and not self._losses:
            self._first_batch = loss

    def after_epoch(self, figures: EpochFigures) -> list[str]:
        """Take in an epoch's figures; gives a sentence for each sign that is new."""
        self._losses[figures.epoch] = figures.train_loss
        if figures.val_ap is not None and math.isfinite(figures.val_ap):
            self._scores[figures.epoch] = figures.val_ap
        signs = {
            "rising": self._rising(figures),
            "flat": self._flat(figures),
            "empty": self._empty(figures),
            "short": self._short(figures),
        }
        # One cause has one sentence: a loss that rises does not fall either, and no AP follows.
        name = next((name for name, text in signs.items() if text is not None), None)
        if name is None or name in self._told:
            return []
        self._told.append(name)
        return [signs[name] or ""]

    def _rising(self, figures: EpochFigures) -> str | None:
        losses = [self._losses[epoch] for epoch in sorted(self._losses)]
        if 0 not in self._losses or figures.updates < LEAST_UPDATES:
            return None
        last = losses[1:][-LAST_EPOCHS:]
        limit = RISEN * losses[0]
        if self._first_batch is not None and not self._starts_trained:
            limit = min(limit, RISEN_ABOVE_FIRST_BATCH * self._first_batch)
        if len(last) < LAST_EPOCHS or min(last) <= limit:
            return None
        first = losses[0] if self._first_batch is None else min(losses[0], self._first_batch)
        return (
            f"the training loss rises: it began with {first:.4g}, and was {min(last):.4g} or more "
            f"in the last {LAST_EPOCHS} epochs; divide train.optim.lr "
            f"({self._config.optim.lr:g}) by ten, set train.warmup_steps, and let "
            f"train.clip_grad_norm ({self._config.clip_grad_norm:g}; 0 does not clip) limit steps"
        )

    def _flat(self, figures: EpochFigures) -> str | None:
        later = [self._losses[epoch] for epoch in sorted(self._losses) if epoch > 0]
        if 0 not in self._losses or len(later) < FLAT_EPOCHS or figures.updates < LEAST_UPDATES:
            return None
        first, last = self._losses[0], later[-LAST_EPOCHS:]
        learns = self._best >= SOME_AP or (self._starts_trained and not self._scores)
        if learns or self._has_fallen:
            return None
        optim = self._config.optim
        return (
            f"the training loss has not fallen: {first:.4g} in its first epoch, "
            f"{sum(last) / len(last):.4g} in epochs {figures.epoch - len(last) + 1} to "
            f"{figures.epoch}; try train.optim.lr ({optim.lr:g}) ten times as "
            f"large and a tenth, and see that train.freeze, train.optim.lr_backbone "
            f"({optim.lr_backbone:g}) and train.clip_grad_norm ({self._config.clip_grad_norm:g}) "
            "let the weights move"
        )

    def _empty(self, figures: EpochFigures) -> str | None:
        are_many = len(self._scores) >= EMPTY_VALIDATIONS or figures.is_last
        if not self._scores or not are_many or figures.updates < EMPTY_UPDATES:
            return None
        if self._best >= NO_AP or not (self._has_fallen or figures.is_last):
            return None
        return (
            f"the AP is still 0 after {figures.updates} updates and {len(self._scores)} "
            "validations: `ddetr check -e` with this spec looks for labels that do not fit their "
            "images; too few pixels an object (dataset.augmentation.scales, "
            "model.return_interm_indices), train.optim.lr, or a backbone without weights "
            "(model.pretrained_backbone_path) are the usual causes"
        )

    def _short(self, figures: EpochFigures) -> str | None:
        if not figures.is_last or not self._scores or figures.updates >= EMPTY_UPDATES:
            return None
        if self._best >= NO_AP:
            return None
        return (
            f"the run ends with an AP of 0, after {figures.updates} updates: that is few, raise "
            "train.num_epochs (the same command goes on), or lower dataset.batch_size for more "
            "updates an epoch"
        )

    @property
    def _has_fallen(self) -> bool:
        """Whether the last epochs were better than the first one known."""
        first, *later = (self._losses[epoch] for epoch in sorted(self._losses))
        last = later[-LAST_EPOCHS:] or [first]
        return sum(last) / len(last) <= (1 - LEAST_FALL) * first

    @property
    def _best(self) -> float:
        return max(self._scores.values(), default=0.0)

    @property
    def _starts_trained(self) -> bool:
        return self._config.pretrained_model_path is not None


def averaging_notice(config: TrainConfig, total_updates: int) -> str | None:
    """Say that train.ema_decay is too close to 1 for a run of so many updates.

    After n updates the running mean holds decay^n of the first weights.
    """
    decay = config.ema_decay
    if decay is None or decay**total_updates <= MOST_OF_FIRST_WEIGHTS:
        return None
    advised = _NEGLIGIBLE ** (1 / max(total_updates, 2))
    return (
        f"train.ema_decay {decay:g} averages over more updates than the run has "
        f"({total_updates}): {decay**total_updates:.0%} of what is validated and saved at its end "
        f"would be the first weights; set train.ema_decay to {advised:.2g} or less, or leave it out"
    )
