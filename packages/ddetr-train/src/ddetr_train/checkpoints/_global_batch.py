"""Another number of processes or images a batch than a run had so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddetr_train.checkpoints.progress import images_seen
from ddetr_train.config import TrainConfig


@dataclass(frozen=True)
class GlobalBatch:
    """The images of one update."""

    processes: int
    batch_size: int  # of one process
    accumulated: int = 1  # batches of a process

    @property
    def images(self) -> int:
        """Images of all processes."""
        return self.processes * self.batch_size * self.accumulated

    def __str__(self) -> str:
        """Say the number and its factors."""
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        accumulated = f" x {self.accumulated} batches" if self.accumulated > 1 else ""
        return f"{self.images} images ({processes} x {self.batch_size}{accumulated})"


def batch_notice(
    data_state: Mapping[str, Any],
    batch_size: int,
    processes: int,
    configs: tuple[TrainConfig, TrainConfig],
) -> str | None:
    """Say what another number of processes, or of images a batch, changes; None: it is the same.

    Args:
        data_state: of the checkpoint.
        batch_size: of one process from here on.
        processes: of all machines from here on.
        configs: the options there and here.
    """
    accumulated = [each.accumulate_grad_batches for each in configs]
    batch_size_there = data_state["identity"]["batch_size"]
    there = GlobalBatch(data_state["processes"], batch_size_there, accumulated[0])
    here = GlobalBatch(processes, batch_size, accumulated[1])
    if (there.processes, there.batch_size) == (here.processes, here.batch_size):
        return None
    total = int(data_state.get("draws", data_state["identity"]["images"]))
    seen = min(images_seen(data_state), total)
    middle = f"; this epoch goes on after {seen} of its {total} images" if 0 < seen < total else ""
    order = "images come in the same order and in the same views"
    if (
        data_state["identity"]["train_sampler"] == "non_uniform_sampler"
        and there.processes != here.processes
    ):
        order = "images come in another order, for non_uniform_sampler divides them by processes"
    return (
        f"the global batch was {there} and is {here} from here on{middle}: {order}, losses and "
        "weights are not those of a run that was left as it was"
    )
