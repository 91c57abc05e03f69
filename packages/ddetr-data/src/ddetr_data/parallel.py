"""Apply a function to chunks of work in several processes, with results in order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import TypeVar

__all__ = ["available_cores", "map_chunks"]

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

_CHUNKS_A_WORKER = 4


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_chunks(
    function: Callable[[Chunk], Result], chunks: Sequence[Chunk], workers: int
) -> Iterator[Result]:
    """Yield function(chunk) for each chunk, in their order, whatever the number of workers.

    A worker that would have fewer than four chunks to do is not worth its start, so little work is
    done in this process. Workers are started afresh, not forked off this process with its threads:
    a script that calls this needs its `__main__` guard.
    """
    workers = min(workers or available_cores(), len(chunks) // _CHUNKS_A_WORKER)
    if workers <= 1:
        yield from map(function, chunks)
        return
    with ProcessPoolExecutor(workers, _start_context(type(function).__module__)) as pool:
        try:
            yield from pool.map(function, chunks)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_context(module: str) -> BaseContext:
    """A way to start processes that have the module imported already, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
