"""Counting calls as run events, with the time that is left."""

from __future__ import annotations

import time

from ddetr_data.detection import Observer, RunEvent


class Progress:
    """Called with (done, total), as engines without events of their own do."""

    def __init__(self, report: Observer, unit: str) -> None:
        self._report = report
        self._unit = unit
        self._start = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Report a step; the time left assumes that the rest goes as fast."""
        spent = time.monotonic() - self._start
        left = spent / done * (total - done) if done else None
        self._report(RunEvent("step", self._unit, step=done, total_steps=total, eta_seconds=left))
