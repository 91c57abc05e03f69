"""A mean over an epoch that survives a resume and spans all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pytorch_lightning as pl


class RunningMean:
    """A weighted mean of floats."""

    def __init__(self) -> None:
        self._total = 0.0
        self._weight = 0.0
        self._exchanged: list[list[float]] = []  # sum and weight of each process

    def add(self, value: float, weight: float = 1.0) -> None:
        """Count one more value."""
        self._total += value * weight
        self._weight += weight

    def exchange(self, module: pl.LightningModule) -> None:
        """Note what each process has so far, for `state`; waits for all."""
        mine = [self._total, self._weight]
        self._exchanged = [mine]
        if module.trainer.world_size > 1:
            sums = torch.tensor(mine, dtype=torch.float64, device=module.device)
            gathered: Any = module.all_gather(sums)
            self._exchanged = gathered.tolist()

    def close(self, module: pl.LightningModule) -> float:
        """Return the mean over all processes and start anew; NaN when nothing was added."""
        sums = torch.tensor([self._total, self._weight], device=module.device)
        total, weight = module.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        self._total = self._weight = 0.0
        self._exchanged = []
        return float(total / weight) if weight else float("nan")

    def state(self) -> list[list[float]]:
        """Give what a checkpoint must carry: what the processes exchanged last."""
        return self._exchanged

    def restore(self, state: Sequence[Any], rank: int, processes: int) -> None:
        """Continue from what `state` gave, with the part of this process.

        Where there are fewer processes than there were, each takes the parts of several. The first
        checkpoints have the sum and the weight of the first process alone.
        """
        parts = [state] if state and isinstance(state[0], float) else state
        self._exchanged = [
            [sum(values) for values in zip((0.0, 0.0), *parts[first::processes], strict=True)]
            for first in range(processes)
        ]
        self._total, self._weight = self._exchanged[rank]
