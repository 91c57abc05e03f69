"""ConnectionPool for so many requests at a time, taken before a body is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Admission", "BusyError", "Slot"]

_WINDOW_SECONDS = 0.25  # over which the speed of an upload is measured


class BusyError(RuntimeError):
    """Too many requests wait already."""


@dataclass(eq=False)
class Slot:
    """One request, from before its body is read until it is answered."""

    give_way: Callable[[], object] | None = None  # ends the upload; None once it is whole
    received_bytes: int = 0
    is_slow: bool = False
    window_begun: float = 0.0
    window_bytes: int = 0


@dataclass
class Admission:
    """So many requests, and as much memory for their bodies.

    An upload that hardly moves is not counted: who does not send keeps nobody out. It is also the
    first to end when the bodies need more memory than there is.
    """

    most: int
    most_bytes: int  # of all bodies together
    slow_bytes_per_second: float
    clock: Callable[[], float] = time.monotonic
    _all: set[Slot] = field(default_factory=set)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def taken(self) -> int:
        """Requests under way, slow ones too."""
        with self._changing:
            return len(self._all)

    @contextmanager
    def take(self, give_way: Callable[[], object] | None = None) -> Iterator[Slot]:
        """Hold a slot.

        Args:
            give_way: Ends the upload of the request; absent where its body is whole.

        Raises:
            BusyError: all are taken.
        """
        slot = Slot(give_way, window_begun=self.clock())
        with self._changing:
            self._refuse_more_than_most()
            self._all.add(slot)
        try:
            yield slot
        finally:
            with self._changing:
                self._all.discard(slot)

    def receive(self, slot: Slot, count: int) -> None:
        """Count bytes of a body before they are kept.

        Raises:
            BusyError: there is no memory for them.
        """
        with self._changing:
            self._measure(slot)
            slot.received_bytes += count
            slot.window_bytes += count
            while sum(each.received_bytes for each in self._all) > self.most_bytes:
                if not self._end_largest_slow(slot):
                    raise BusyError("other images fill the memory; try again in a moment")

    def finish(self, slot: Slot) -> None:
        """Note that a body is whole.

        Raises:
            BusyError: it was slow, and all slots are taken now.
        """
        with self._changing:
            self._measure(slot)
            if slot.is_slow:
                self._refuse_more_than_most()
            slot.give_way, slot.is_slow = None, False

    def _refuse_more_than_most(self) -> None:
        for each in self._all:
            self._measure(each)
        counted = sum(not each.is_slow for each in self._all)
        if counted >= self.most:
            raise BusyError(f"{counted} images wait already; try again in a moment")

    def _measure(self, slot: Slot) -> None:
        """Judge an upload by its last whole window."""
        seconds = self.clock() - slot.window_begun
        if slot.give_way is None or seconds < _WINDOW_SECONDS:
            return
        slot.is_slow = slot.window_bytes < seconds * self.slow_bytes_per_second
        slot.window_begun, slot.window_bytes = self.clock(), 0

    def _end_largest_slow(self, asking: Slot) -> bool:
        for each in self._all:
            self._measure(each)
        slow = [each for each in self._all if each.is_slow and each is not asking]
        largest = max(slow, key=lambda each: each.received_bytes, default=None)
        if largest is None or largest.give_way is None:
            return False
        self._all.discard(largest)
        largest.give_way()
        return True
