"""Ctrl+C and the polite kill, as one exception that lets a run close its files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ddetr_train.process import ending_signals

# What shells give after Ctrl+C (128 + SIGINT). SIGTERM and a preempted training have it too:
# nothing failed, the work is not done, and the same command goes on with it.
EXIT_INTERRUPTED = 130


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to stop, and did so in good order; the text says what was kept."""


class Interrupts:
    """While entered, signals that end a run raise KeyboardInterrupt here, and are remembered.

    SIGINT, SIGTERM, and SIGHUP unless it was ignored, as by nohup. The memory matters because a
    library may turn the exception into another one on its way up, or Python may drop it, in a
    finalizer: who enters inside another block learns of it then.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self  # where no handler can be set
        for number in ending_signals():
            outer = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(outer, Interrupts) and outer.received is not None:
                raise KeyboardInterrupt(outer.received.name)  # it was lost on its way up
        for number in ending_signals():
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """Let the last lines of a run be written whatever else comes until the end of the block."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _raise(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked worker: end it as if it had no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = signal.Signals(number)
        raise KeyboardInterrupt(self.received.name)


@contextmanager
def told_interrupts() -> Iterator[None]:
    """End by a sentence when a signal comes which nothing inside the block answers.

    So it is while arguments are read and libraries loaded, which make what they like of it.

    Raises:
        SystemExit: a signal came.
    """
    with Interrupts() as interrupts, _dropped_untold():
        try:
            yield
        except BaseException as error:
            is_done = isinstance(error, SystemExit) and not error.code
            if interrupts.received is None or is_done:
                raise
            interrupts.ignore()
            print(f"ddetr: interrupted by {interrupts.received.name}", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None


@contextmanager
def _dropped_untold() -> Iterator[None]:
    """Print no traceback of a KeyboardInterrupt that Python has to drop."""
    before = sys.unraisablehook

    def tell(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = before
