"""Apply a function to work in several threads, processes or machines, with results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeAlias, TypeVar

from ddetr_data.extras import InstallHint, MissingExtraError
from ddetr_data.faults import DataError

Item = TypeVar("Item")
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Executor: TypeAlias = Literal["local", "threads", "ray"]

_CHUNKS_A_WORKER = 4


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


IO_THREADS = max(8, available_cores())  # for files: a network's disk is mostly waited for


class WorkAhead:
    """While entered, threads that work for iterators before they are asked for their next item.

    For the stages of a pipeline, all of whose iterators share the threads: each one holds back when
    as many results wait as it may have, so memory stays flat whatever the other stages cost. Work
    that runs outside Python's lock, such as Pillow's, keeps all cores busy.
    """

    def __init__(self, workers: int) -> None:
        """Start no thread yet; at most one a core is of use, and with 0 the caller works itself."""
        self.threads = min(workers, available_cores())
        self._pool = ThreadPoolExecutor(self.threads) if self.threads else None

    def __enter__(self) -> WorkAhead:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being done; what was not begun, as after an error, is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
    ) -> Iterator[Result]:
        """Yield function(item) for each item, in their order.

        Items are taken in the caller's thread, when there is room for their results: at most
        `ahead` wait or are worked on while the caller has the iterator stand.

        Raises:
            Exception: of an item or of taking it, after the results of all items before.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        source, pending = iter(items), deque[Future[Result]]()
        while True:
            try:
                pending.append(self._pool.submit(function, next(source)))
            except StopIteration:
                break
            except Exception:
                yield from _results(pending)
                raise
            if len(pending) > ahead:
                yield pending.popleft().result()
        yield from _results(pending)


def _results(pending: deque[Future[Result]]) -> Iterator[Result]:
    while pending:
        yield pending.popleft().result()


def map_in_chunks(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    size: int,
    workers: int,
    executor: Executor = "local",
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """Yield function(chunk) for each chunk of so many items, as map_chunks does.

    on_progress is called with items done and items in all.
    """
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    done = 0
    for chunk, result in zip(chunks, map_chunks(function, chunks, workers, executor), strict=True):
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, len(items))
        yield result


def map_chunks(
    function: Callable[[Chunk], Result],
    chunks: Sequence[Chunk],
    workers: int,
    executor: Executor = "local",
) -> Iterator[Result]:
    """Yield function(chunk) for each chunk, in their order, from processes, threads or Ray.

    A worker that would have fewer than four chunks to do is not worth its start, so little work is
    done in this process. Workers are started afresh, not forked off this process with its threads:
    a script that calls this needs its `__main__` guard.

    With "threads" so many threads do it all, for work that waits for a disk or a network.

    With "ray" the chunks are tasks of the Ray cluster that this process is connected to, that
    RAY_ADDRESS names, or of one started on this machine with as many workers.

    Raises:
        MissingExtraError: executor is "ray" and Ray is not installed.
    """
    if executor == "ray":
        yield from _map_on_ray(function, chunks, workers)
        return
    if executor == "threads":
        with ThreadPoolExecutor(workers) as threads:
            yield from threads.map(function, chunks)
        return
    workers = min(workers or available_cores(), len(chunks) // _CHUNKS_A_WORKER)
    if workers <= 1:
        yield from map(function, chunks)
        return
    context = _start_context(type(function).__module__)
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
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


def _end_with_parent() -> None:
    """End this worker when the process that wants its results is gone, killed for instance."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # its queue's other end is held open by its siblings: it would wait for ever

    threading.Thread(target=watch, daemon=True).start()


def _map_on_ray(
    function: Callable[[Chunk], Result], chunks: Sequence[Chunk], workers: int
) -> Iterator[Result]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use by default
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "executor ray needs Ray", InstallHint("ray"), ", or choose executor local"
        ) from error
    is_ours = not ray.is_initialized()
    if is_ours:
        is_remote = "RAY_ADDRESS" in os.environ
        cpus = None if is_remote else workers or available_cores()
        ray.init(num_cpus=cpus, include_dashboard=None if is_remote else False)
    try:
        shared = ray.put(function)
        task: Any = ray.remote(_apply)
        for pending in [task.remote(shared, chunk) for chunk in chunks]:
            yield _result(ray, pending)
    finally:
        if is_ours:
            ray.shutdown()


def _result(ray: Any, pending: Any) -> Any:
    """Wait for a task; what Ray wraps around a DataError says where in Ray it came from."""
    try:
        return ray.get(pending)
    except Exception as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (DataError, OSError)):
            raise cause from None
        raise


def _apply(function: Callable[[Chunk], Result], chunk: Chunk) -> Result:
    return function(chunk)
