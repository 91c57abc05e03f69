"""Log records that cannot fill a disk, however often their cause comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["LogRateLimit", "few_log_records"]

_MOST = 5
_WINDOW_SECONDS = 10.0


@dataclass
class _Window:
    begun: float
    seen: int = 0


class LogRateLimit(logging.Filter):
    """Lets a few records of each line of code pass in ten seconds, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is written; the first one of a window tells what was not."""
        now, key = self._clock(), (record.pathname, record.lineno)
        window = self._windows.get(key)
        if window is None or now - window.begun >= _WINDOW_SECONDS:
            unsaid = window.seen - _MOST if window is not None else 0
            if unsaid > 0:
                record.msg, record.args = f"{record.getMessage()} (and {unsaid} more like it)", ()
            window = self._windows[key] = _Window(now)
        window.seen += 1
        return window.seen <= _MOST


@contextmanager
def few_log_records(*names: str) -> Iterator[None]:
    """Keep loggers to a few records while a server runs."""
    limit = LogRateLimit()
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(limit)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(limit)
