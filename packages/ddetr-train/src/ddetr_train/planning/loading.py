"""Whether batches of data workers find room in shared memory and among the open files."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ddetr_train.planning.plan import readable_size

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


_SHARED_MEMORY = Path("/dev/shm")
_OPEN_FILES = Path("/proc/self/fd")
# Of a worker: queues, pipes and the socket that hands over its batches, here and in the worker.
_FILES_A_WORKER = 12
_FILES_A_BATCH = 2
_SPARE_FILES = 24  # images, checkpoints, logs, libraries that are loaded later
# Batches beside those ahead: the one that is trained on, and the one before until then.
_BATCHES_IN_USE = 2
_USABLE_FRACTION = 0.9  # of shared memory; other processes have a little of it
_MOST_FILES_WANTED = 4096


@dataclass(frozen=True)
class Room:
    """What this process may use; None is no limit, or not known."""

    shm_bytes: int | None
    free_files: int | None


@dataclass(frozen=True)
class Loading:
    """How batches are loaded, and what to tell of it."""

    workers: int
    batches_ahead: int
    notice: str | None = None


def present_room(
    shared_memory: Path = _SHARED_MEMORY, *, processes: int = 1, files_wanted: int = 0
) -> Room:
    """Look at shared memory and at the limit of open files, which is raised where it is short.

    Args:
        shared_memory: the folder where it lies; one that is missing or read-only has no room.
        processes: of this machine that share it.
        files_wanted: up to which the limit is raised, as far as it may be.
    """
    if not sys.platform.startswith("linux"):
        return Room(None, None)
    try:
        state = os.statvfs(shared_memory)
        may_write = os.access(shared_memory, os.W_OK)
        shm_bytes = state.f_bavail * state.f_frsize // processes if may_write else 0
    except OSError:
        shm_bytes = 0
    return Room(shm_bytes, _free_files(files_wanted))


def batch_bytes(batch_size: int, size_hw: tuple[int, int]) -> int:
    """Bytes of a batch's pixels and mask; its boxes are nothing beside them."""
    height, width = size_hw
    return batch_size * height * width * (3 * 4 + 1)


def fit_loading(
    workers: int, batches_ahead: int, bytes_a_batch: int, room: Room, *, loaders: int = 1
) -> Loading:
    """Choose the most workers, and then the most batches ahead of each, for which there is room.

    Without workers the run loads its batches by itself, and needs no shared memory.

    Args:
        workers: that are asked for.
        batches_ahead: of each worker.
        bytes_a_batch: in shared memory.
        room: what there is.
        loaders: that have so many workers each; one of them loads at a time.
    """
    if workers == 0:
        return Loading(0, batches_ahead)
    shm = None if room.shm_bytes is None else int(room.shm_bytes * _USABLE_FRACTION)
    for count in range(workers, 0, -1):
        for ahead in range(batches_ahead, 0, -1):
            batches = count * ahead + _BATCHES_IN_USE
            needs_files = files_of(count, ahead, loaders)
            if (shm is None or batches * bytes_a_batch <= shm) and (
                room.free_files is None or needs_files <= room.free_files
            ):
                is_less = (count, ahead) != (workers, batches_ahead)
                told = (
                    _told(workers, batches_ahead, bytes_a_batch, room, loaders) if is_less else None
                )
                chosen = f"{told}: {count} with {ahead} ahead load" if told else None
                return Loading(count, ahead, chosen)
    told = _told(workers, batches_ahead, bytes_a_batch, room, loaders)
    return Loading(0, batches_ahead, f"{told}: the run loads its batches itself, which is slower")


def files_of(workers: int, batches_ahead: int, loaders: int = 1) -> int:
    """Files that are open at once while so many workers of each loader live."""
    batches = workers * batches_ahead + _BATCHES_IN_USE
    return loaders * workers * _FILES_A_WORKER + batches * _FILES_A_BATCH + _SPARE_FILES


def _told(workers: int, batches_ahead: int, bytes_a_batch: int, room: Room, loaders: int) -> str:
    """Say what is short, and what there would have to be."""
    needed = (workers * batches_ahead + _BATCHES_IN_USE) * bytes_a_batch / _USABLE_FRACTION
    asked = f"{workers} data worker{'s' * (workers > 1)} with {batches_ahead} batches ahead"
    short = []
    if room.shm_bytes is not None and needed > room.shm_bytes:
        short.append(
            f"{readable_size(int(needed))} of shared memory, /dev/shm has "
            f"{readable_size(room.shm_bytes)} (docker run --shm-size gives more)"
        )
    files = files_of(workers, batches_ahead, loaders)
    if room.free_files is not None and files > room.free_files:
        short.append(f"{files} open files, {room.free_files} are left (ulimit -n gives more)")
    return f"{asked} need {' and '.join(short)}"


def _free_files(wanted: int) -> int | None:
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir(_OPEN_FILES))
    except OSError:
        return None
    if soft == resource.RLIM_INFINITY:
        return None
    enough = min(_MOST_FILES_WANTED, used + wanted)
    if enough > soft:
        limit = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            soft = limit
    return max(0, soft - used)
