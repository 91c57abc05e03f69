"""A mean over an epoch that survives a resume and spans all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import pytorch_lightning as pl


class RunningMean:
    """A weighted mean of floats."""

    def __init__(self) -> None:
        self._total = 0.0
        self._weight = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Count one more value."""
        self._total += value * weight
        self._weight += weight

    def close(self, module: pl.LightningModule) -> float:
        """Return the mean over all processes and start anew; NaN when nothing was added."""
        sums = torch.tensor([self._total, self._weight], device=module.device)
        total, weight = module.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        self._total = self._weight = 0.0
        return float(total / weight) if weight else float("nan")

    def state(self) -> list[float]:
        """Give what a checkpoint must carry."""
        return [self._total, self._weight]

    def restore(self, state: list[float]) -> None:
        """Continue from what `state` gave."""
        self._total, self._weight = state
