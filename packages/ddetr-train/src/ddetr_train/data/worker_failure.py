"""Why a data worker gave no batch, in a sentence."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol

_REAP_SECONDS = 1.0  # in which a process that has ended is seen to have
_KILLED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
_TOO_MANY = ("Too many open files", "received 0 items of ancdata")
_NO_SHARED_MEMORY = ("unable to allocate shared memory", "unable to open shared memory")
_FROM_A_WORKER = "in DataLoader worker process"  # what PyTorch says of an error of the data
_LOST = (ConnectionError, EOFError, FileNotFoundError)
_FEWER = "lower dataset.workers or dataset.batch_size"
_REASONS = {
    "SIGKILL": f"as the kernel does where memory runs out: {_FEWER}",
    "SIGBUS": "as happens where /dev/shm is full: give it more room (docker run --shm-size), or "
    + _FEWER,
}


class DataWorkerError(RuntimeError):
    """A process that loads data has ended, or cannot hand over its batches."""


class HasWorkers(Protocol):
    """Data that processes load."""

    @property
    def running_workers(self) -> Sequence[BaseProcess]:
        """The processes that load batches, or did."""
        ...


def explain_failure(error: BaseException, workers: Sequence[BaseProcess]) -> DataWorkerError | None:
    """Say why the workers gave no batch; None: an error of the data themselves.

    Args:
        error: what was raised instead of a batch.
        workers: all that load these data.
    """
    texts = [str(each) for each in _chain(error)]
    if any(word in text for word in _TOO_MANY for text in texts) or _errno(error) == errno.EMFILE:
        return DataWorkerError(
            f"too many open files (this process may have {_most_files()}) while batches were "
            "loaded: raise the limit with `ulimit -n`, or lower dataset.workers"
        )
    if any(word in text for word in _NO_SHARED_MEMORY for text in texts):
        return DataWorkerError(
            f"shared memory is full while batches were loaded{_shm_room()}: give /dev/shm more "
            f"room (docker run --shm-size), or {_FEWER}"
        )
    named = [match for text in texts if (match := _KILLED.search(text))]
    is_lost = bool(named) or (isinstance(error, _LOST) and _FROM_A_WORKER not in texts[0])
    gone = wait([worker.sentinel for worker in workers], timeout=_REAP_SECONDS if is_lost else 0)
    for worker in workers:
        if worker.sentinel in gone:
            worker.join(_REAP_SECONDS)  # its pipes close a little before it has ended
        if worker.exitcode:
            return _died(worker.pid, worker.exitcode)
    if named:
        return DataWorkerError(f"data worker {named[0][1]} has ended: its own output says why")
    if is_lost and not isinstance(error, FileNotFoundError):
        return DataWorkerError(
            f"a data worker could not hand over its batch ({error or type(error).__name__}): its "
            "own output says why"
        )
    return None


@contextmanager
def workers_named(data: HasWorkers) -> Iterator[None]:
    """Tell a worker's death wherever it is noticed; PyTorch raises it in the midst of other work.

    Raises:
        DataWorkerError: a data worker has died, and the block failed of it.
    """
    try:
        yield
    except DataWorkerError:
        raise
    except Exception as error:
        is_of_a_worker = any(_KILLED.search(str(each)) for each in _chain(error))
        explained = explain_failure(error, data.running_workers) if is_of_a_worker else None
        if explained is None:
            raise
        raise explained from error


def _died(pid: int | None, exitcode: int) -> DataWorkerError:
    if exitcode > 0:
        return DataWorkerError(
            f"data worker {pid} ended with exit status {exitcode}: its own output says why"
        )
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    reason = _REASONS.get(name, "in a library that it uses: dataset.workers 0 shows where")
    return DataWorkerError(f"data worker {pid} was ended by {name}, {reason}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__ or each.__context__


def _errno(error: BaseException) -> int | None:
    return next((each.errno for each in _chain(error) if isinstance(each, OSError)), None)


def _most_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _shm_room() -> str:
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return ""
    return f" ({room.f_bavail * room.f_frsize / 1e6:.0f} MB are free)"
