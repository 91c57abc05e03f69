"""What a run tells its observers: a console, a status file, a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "started", "step", "epoch", "validation", "checkpoint", "notice", "waiting", "finished"
]


@dataclass(frozen=True)
class RunEvent:
    """One thing that happened.

    `epoch` counts from 0; `step` of `total_steps` counts the finished optimiser steps of the whole
    run in training, and finished images, or frames of a video, in evaluation and inference; a total
    that is not known is None. `metrics` holds plain floats under the names that TensorBoard uses.
    A notice is for the person; what is waited for is said by every machine that waits.
    `is_routine` marks what comes after every epoch and is no news: a record keeps it, a screen need
    not show it; `is_warning` marks a notice of what should be changed, with the key to change.
    """

    kind: EventKind
    message: str = ""
    epoch: int | None = None
    step: int | None = None
    total_steps: int | None = None
    eta_seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_routine: bool = False
    is_warning: bool = False


Observer: TypeAlias = Callable[[RunEvent], None]


def emit(observers: Sequence[Observer], event: RunEvent) -> None:
    """Hand the event to every observer in turn; what an observer raises ends the run."""
    for observer in observers:
        observer(event)


class Progress:
    """Emits a step with the time left, whenever it is called with items done and items in all."""

    def __init__(self, observers: Sequence[Observer], message: str = "") -> None:
        self._observers, self._message = observers, message
        self._start = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Report; the time left assumes that the rest goes as fast, and needs a known total."""
        spent = time.monotonic() - self._start
        left = spent / done * (total - done) if done and total else None
        event = RunEvent("step", self._message, step=done, total_steps=total, eta_seconds=left)
        emit(self._observers, event)
