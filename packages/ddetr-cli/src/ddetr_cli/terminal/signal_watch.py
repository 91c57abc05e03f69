"""The end of a process that a signal has asked to end, and that is stuck in native code."""

from __future__ import annotations

import math
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from ddetr_cli.terminal.interrupts import EXIT_INTERRUPTED
from ddetr_train.process import SAME_REQUEST_SECONDS

# What is kept of a run, told by what stands around it with more words.
Word: TypeAlias = Callable[[str], str]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE_SECONDS = 6.0  # for the process to end by itself
_LAST_PATIENCE_SECONDS = 1.0  # after a second signal
_LAST_WORDS_SECONDS = 3.0
_LONGEST_WORDS_SECONDS = 24.0
_FLUSH_SECONDS = 0.2
_OVER = b"\0"  # no signal has this number

_patience = [_PATIENCE_SECONDS]  # the last one holds
_words: list[tuple[Word, float]] = []
_writers: list[int] = []  # what a signal wakes the watch by


@contextmanager
def last_word(word: Word, seconds: float = _LAST_WORDS_SECONDS) -> Iterator[None]:
    """While entered, `word` is the last that is done before the process is ended from outside.

    Called in another thread, the innermost first, each with what the one before said.

    Args:
        seconds: that it may take at most.
    """
    _words.append((word, seconds))
    try:
        yield
    finally:
        _words.pop()


@contextmanager
def patient(seconds: float) -> Iterator[None]:
    """While entered, the process has so many seconds to end by itself after a signal."""
    _patience.append(seconds)
    try:
        yield
    finally:
        _patience.pop()


@contextmanager
def ended_in_time(*, with_process: bool = False) -> Iterator[None]:
    """End the process some seconds after a signal, if the block has not ended by then.

    A signal's handler waits for native code to return, which a rendezvous of processes, a file
    system that is gone, or a long step may never do. Here a thread is woken by the signal itself.

    Args:
        with_process: watch what follows the block, too: threads and libraries that the end of the
            process waits for. Who goes on to other work must not ask for it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if os.name != "posix" or not is_main:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _writers.append(writer)
    watch = _Watch(reader)
    watch.start()
    try:
        yield
    except SystemExit as ended:
        watch.exit_status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        raise
    finally:
        if with_process:
            _leave_signals_to_the_watch()
        else:
            signal.set_wakeup_fd(before)
            _writers.remove(writer)
            os.write(writer, _OVER)  # forked processes that live on keep the pipe open
            watch.join()  # for ever, where it is ending the process
            os.close(writer)


def _leave_signals_to_the_watch() -> None:
    """Let the process end as its work did, whatever signal comes; ignored ones stay ignored."""
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


class _Watch(threading.Thread):
    """Waits for a signal, then for the end of what it watches, then ends the process."""

    def __init__(self, reader: int) -> None:
        super().__init__(name="signal-watch", daemon=True)
        self.exit_status: int | None = None  # once the work is over
        self._reader = reader
        self._ending = {getattr(signal, name) for name in _NAMES if hasattr(signal, name)}

    def run(self) -> None:
        first: float | None = None
        deadline = math.inf
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._reader], [], [], None if math.isinf(left) else left)[0]:
                continue
            numbers = os.read(self._reader, 64)
            if not numbers or _OVER in numbers:
                os.close(self._reader)
                return
            if self._ending & set(numbers):
                now = time.monotonic()
                first = now if first is None else first
                is_again = now - first > SAME_REQUEST_SECONDS
                patience = _LAST_PATIENCE_SECONDS if is_again else _patience[-1]
                deadline = min(deadline, now + patience)
        _say_last_words()
        _end(EXIT_INTERRUPTED if self.exit_status is None else self.exit_status)


def _say_last_words() -> None:
    """Do what the process wants done before its end, each in its time."""
    said = [""]
    for word, seconds in reversed(_words):

        def speak(word: Word = word) -> None:
            said.append(word(said[-1]))

        _try(speak, min(seconds, _LONGEST_WORDS_SECONDS))


def _end(exit_status: int) -> None:
    for child in multiprocessing.active_children():
        child.kill()  # one that is stuck too would stay
    for stream in (sys.stdout, sys.stderr):
        _try(stream.flush, _FLUSH_SECONDS)  # a pipe that nobody reads takes no more
    os._exit(exit_status)


def _try(work: Callable[[], object], seconds: float) -> None:
    """Do what may fail, or never end, in so much time: nothing keeps the process from its end."""

    def attempt() -> None:
        with suppress(Exception):
            work()

    worker = threading.Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(seconds)


def _wake_nobody() -> None:
    """Let a forked process leave its parent's watch alone."""
    if _writers:
        with suppress(ValueError):  # not in the main thread
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_wake_nobody)
