"""Signals while gradients are computed: they wait for their end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ddetr_train.process.run_signals import ending_signals


@contextmanager
def signals_held() -> Iterator[None]:
    """Answer signals that end a run at the end of the block, by the handlers from before.

    PyTorch keeps the steps of a backward pass that an exception has left until the process ends,
    and frees what recomputed layers have hung on them when Python is gone: that is a crash.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in ending_signals()}
    came: list[tuple[int, FrameType | None]] = []
    held = [number for number, handler in handlers.items() if callable(handler)]
    for number in held:
        signal.signal(number, lambda *sent: came.append(sent))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, handlers[number])
    for sent, frame in came:
        handler = handlers[signal.Signals(sent)]
        if callable(handler):
            handler(sent, frame)
