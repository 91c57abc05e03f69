"""Ctrl+C and the polite kill, as one exception that lets a run close its files."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to stop, and did so in good order; the text says what was kept."""


class Interrupts:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt here, and are remembered.

    The memory matters because a library may turn the exception into another one on its way up.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """Let the last lines of a run be written whatever else comes until the end of the block."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _raise(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked worker: end it as if it had no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = signal.Signals(number)
        raise KeyboardInterrupt(self.received.name)
