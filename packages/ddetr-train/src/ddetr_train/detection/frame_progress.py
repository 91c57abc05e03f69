"""A video's frames as steps of a run, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ddetr_data.detection import Observer, RunEvent, emit


class FrameProgress:
    """Called with a video's name, frames done and frames in all, as label_media does."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._start = time.monotonic()

    def __call__(self, video: str, done: int, total: int | None) -> None:
        """Report a step; done is 0 when a video begins."""
        now = time.monotonic()
        if done == 0:
            self._start = now
        left = (now - self._start) / done * (total - done) if done and total else None
        event = RunEvent(
            "step", f"frames of {video}", step=done, total_steps=total, eta_seconds=left
        )
        emit(self._observers, event)
