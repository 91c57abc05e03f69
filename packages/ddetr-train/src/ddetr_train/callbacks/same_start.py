"""All processes of a run must begin at the same checkpoint, which each has looked for itself."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from typing_extensions import override

from ddetr_train.process import gather_objects


class SameStart(Callback):
    """Before the first step, refuses nodes that do not see the folder of the run."""

    def __init__(
        self,
        results_dir: Path,
        steps_done: int | None,
        gather: Callable[[Any], list[Any]] = gather_objects,
    ) -> None:
        """Take note of where this process would begin.

        Args:
            results_dir: Where the checkpoint lies that all are to continue from.
            steps_done: Of the checkpoint that this process has found; None: it has found none.
            gather: Collects one value of every process, on every process.
        """
        self._gather = gather
        self._results_dir = results_dir
        self._steps_done = steps_done

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare all processes.

        Raises:
            ValueError: one has found another checkpoint than the first, or none.
        """
        (_, expected), *others = self._gather((platform.node(), self._steps_done))
        for node, steps_done in others:
            if steps_done != expected:
                begins, begin = (_described(steps) for steps in (steps_done, expected))
                raise ValueError(
                    f"node {node} does not see what the first one does in {self._results_dir}: it "
                    f"begins {begins}, the first {begin}; give every node the same folder (a "
                    "network's disk)"
                )


def _described(steps_done: int | None) -> str:
    return "anew" if steps_done is None else f"behind step {steps_done}"
