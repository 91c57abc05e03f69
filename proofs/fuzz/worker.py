"""A process for the cases: one that hangs, grows or dies is told and replaced."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

__all__ = ["Door", "Outcome", "Worker", "where_raised"]

MOST_CPU_SECONDS = 10.0  # of one case; a busy machine stretches the other clock
MOST_SECONDS = 60.0  # where it waits and computes nothing
START_SECONDS = 300.0  # of either, for a door's first case, which imports
LARGEST_GIB = 4.0
LOOK_SECONDS = 0.2
OUR_PACKAGES = "ddetr_"


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `problem` is empty when it went as it should."""

    status: str
    problem: str = ""


Door = Callable[[Path], Outcome]


class Worker:
    """Runs doors on the folders of cases, all in one other process as long as that lives."""

    def __init__(
        self,
        doors: Mapping[str, Door],
        screen: Path,
        *,
        most_seconds: float = MOST_SECONDS,
        most_cpu_seconds: float = MOST_CPU_SECONDS,
    ) -> None:
        """Start nothing yet.

        Args:
            doors: what a case can be given to, by name.
            screen: the file that standard error of the process goes to; standard output goes to
                one beside it that ends in .out.
            most_seconds: that one case may take.
            most_cpu_seconds: that it may compute.
        """
        self._doors, self._screen = doors, screen
        self._most = most_seconds, most_cpu_seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._used: set[str] = set()

    def run(self, door: str, folder: Path) -> Outcome:
        """Give one case to a door and wait for its outcome, within limits of time and memory."""
        if self._process is None:
            self._start()
        assert self._process is not None
        most_seconds, most_cpu_seconds = self._most if door in self._used else (START_SECONDS,) * 2
        self._used.add(door)
        before = _cpu_seconds(self._process.pid)
        deadline = time.monotonic() + most_seconds
        self._calls.send((door, folder))
        while not self._calls.poll(LOOK_SECONDS):
            if not self._process.is_alive():
                return self._end(f"the process died with {self._process.exitcode}")
            if _resident_gib(self._process.pid) > LARGEST_GIB:
                return self._end(f"more than {LARGEST_GIB:g} GiB of memory")
            if _cpu_seconds(self._process.pid) - before > most_cpu_seconds:
                return self._end(f"more than {most_cpu_seconds:g} s of computing")
            if time.monotonic() > deadline:
                return self._end(f"no answer in {most_seconds:g} s")
        try:
            outcome: Outcome = self._calls.recv()
        except EOFError:
            self._process.join()
            return self._end(f"the process died with {self._process.exitcode}")
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # the parent has loaded next to nothing
        self._calls, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self._calls, self._doors, self._screen)
        )
        self._process.start()
        theirs.close()
        self._used.clear()

    def _end(self, problem: str) -> Outcome:
        self.close()
        return Outcome("ended", problem)


def where_raised(error: BaseException) -> str:
    """Name an exception by its type and the last function of ours that it passed."""
    trace: TracebackType | None = error.__traceback__
    ours = ""
    for frame, _ in traceback.walk_tb(trace):
        module = frame.f_globals.get("__name__", "")
        if module.startswith(OUR_PACKAGES):
            ours = f"{module}.{frame.f_code.co_name}"
    return f"{type(error).__name__} in {ours or 'no module of ours'}"


def _work(
    calls: Connection, other_end: Connection, doors: Mapping[str, Door], screen: Path
) -> None:
    """Answer calls until killed, or until the caller is gone; complaints go to a file."""
    other_end.close()
    shown = os.open(screen, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(shown, sys.stderr.fileno())
    told = os.open(screen.with_suffix(".out"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(told, sys.stdout.fileno())
    while True:
        try:
            door, folder = calls.recv()
        except EOFError:
            return
        os.ftruncate(shown, 0)
        os.ftruncate(told, 0)
        try:
            outcome = doors[door](folder)
        except Exception as error:
            outcome = Outcome("raised", where_raised(error))
        calls.send(outcome)


def _resident_gib(pid: int | None) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it ends
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def _cpu_seconds(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system
