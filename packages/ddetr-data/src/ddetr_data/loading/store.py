"""A detection set as memory-mapped columns on disk, one copy for all workers and ranks.

Why a store: a list of Python objects is copied into every worker by and by, since each change of a
reference count makes a forked page private. Mapped arrays stay one copy, in the page cache, and a
worker that is started afresh is sent the folder's path alone.

A store is a folder: one .npy file a column, and index.json with the classes, image folders, faults
and the columns' digests. It is written as a draft and renamed, so a half-written store is never
seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet, ImageColumns, ImageTable, as_table
from ddetr_data.faults import DataError, FaultLog, Losses
from ddetr_data.files import (
    discard_folder,
    file_digests,
    is_of_this_process,
    whole_folder,
    write_whole,
)
from ddetr_data.images import WhiteLevels
from ddetr_data.loading.cache_folder import CACHE_VARIABLE
from ddetr_data.loading.image_states import SeenFiles
from ddetr_data.locations import absolute
from ddetr_data.types import Category

logger = logging.getLogger(__name__)

FORMAT_VERSION = 9  # also raised when a rule for faulty labels changes
_INDEX = "index.json"
_FILE_SIZES = "file_sizes"
_OWN_DIGEST = "index_digest"


class StoredTable(ImageTable):
    """An image table over a store's files; other processes map the same pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = _read_index(folder)
        super().__init__(_map_columns(folder), index["image_dirs"])

    def __reduce__(self) -> tuple[type[StoredTable], tuple[Path]]:
        return StoredTable, (self.folder,)


def write_store(detection_set: DetectionSet, seen: SeenFiles, folder: Path) -> None:
    """Write a set whose images are an ImageTable, unless the store is there already.

    Raises:
        OSError: the folder cannot be written.
    """
    table = as_table(detection_set.images)
    with _saying_what_to_do(folder):
        with whole_folder(folder) as draft:  # where another process is faster, its store stays
            columns = {**table.columns.as_dict(), _FILE_SIZES: seen.sizes_bytes}
            index = {
                "format_version": FORMAT_VERSION,
                "image_dirs": [absolute(image_dir) for image_dir in table.image_dirs],
                "categories": [asdict(category) for category in detection_set.categories],
                "faults": detection_set.faults.to_dict(),
                "largest": asdict(detection_set.largest),
                "losses": [[*key, count] for key, count in detection_set.losses.items()],
                "looked_at": seen.at,
                "left_out": seen.left_out,
                "left_out_is_complete": seen.is_complete,
                "digests": _write_columns(columns, draft),
            }
            (draft / _INDEX).write_text(_index_text(index), encoding="utf-8")
        if not is_store(folder):
            raise OSError(f"{folder} is no store and cannot be replaced by one, remove it")


@dataclass(frozen=True, eq=False)
class StoredSet(DetectionSet):
    """A detection set over a store."""

    images: StoredTable


def read_store(folder: Path) -> StoredSet:
    """Map a store; nothing is read before it is used.

    Raises:
        DataError: the folder is no store of this version.
    """
    index = _read_index(folder)
    categories = tuple(Category(**category) for category in index["categories"])
    faults, largest = FaultLog.from_dict(index["faults"]), WhiteLevels(**index["largest"])
    losses = Losses({(why, int(id)): int(count) for why, id, count in index["losses"]})
    return StoredSet(StoredTable(folder), categories, faults, largest, losses)


def is_store(folder: Path) -> bool:
    """Whether the folder is a complete store of this version."""
    try:
        _read_index(folder)
    except DataError:
        return False
    return True


def check_store(folder: Path) -> tuple[StoredSet, SeenFiles]:
    """Open a store whose files have the digests of its index; also the image files as they were.

    Raises:
        DataError: it is no store of this version, or damaged.
    """
    index = _read_index(folder)
    paths = [_column_path(folder, name) for name in index["digests"]]
    try:
        found = file_digests(paths)
    except OSError as error:
        if is_of_this_process(error):
            raise
        raise DataError(f"{folder} is not whole: {error}") from error
    written = index["digests"].values()
    pairs = zip(paths, found, written, strict=True)
    damaged = [path.name for path, now, then in pairs if now != then]
    if damaged:
        raise DataError(f"{folder} is damaged, its contents have changed: {', '.join(damaged)}")
    left_out = tuple((source, name, size) for source, name, size in index["left_out"])
    sizes_bytes = _map_column(_column_path(folder, _FILE_SIZES))
    is_complete = index["left_out_is_complete"]
    return read_store(folder), SeenFiles(index["looked_at"], sizes_bytes, left_out, is_complete)


def note_looked_at(folder: Path, at: float) -> None:
    """Note the time at which no image file had changed; not in a store that is read-only."""
    index = _read_index(folder) | {"looked_at": at}
    with contextlib.suppress(OSError):
        write_whole(folder / _INDEX, _index_text(index))


def discard_store(folder: Path) -> None:
    """Remove a store, or what has its name; processes that have mapped it keep it."""
    if folder.exists():
        with _saying_what_to_do(folder):
            discard_folder(folder)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Let one process at a time build a store; the others wait here.

    Where the system has no file locks, all may build, and the first to finish wins.

    Raises:
        OSError: the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with _saying_what_to_do(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(folder.with_suffix(".lock"), "w"))
        _wait_for(lock)
        yield


def _wait_for(lock: IO[str]) -> None:
    """Wait until no other process holds the lock; not at all where there are none."""
    with contextlib.suppress(ImportError, OSError):  # Windows; disks of a network without locks
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another process reads the same labels: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)


@contextlib.contextmanager
def _saying_what_to_do(folder: Path) -> Iterator[None]:
    """Add the way out to an error of the file system."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"the labels cannot be kept on disk ({error.strerror or error}); set the "
            f"environment variable {CACHE_VARIABLE} to a folder that can be written, or give "
            "dataset.dataset_type=default",
            str(folder),
        ) from error


def _write_columns(columns: Mapping[str, NDArray[Any]], folder: Path) -> dict[str, str]:
    """Write each column to its file; gives the digests."""
    for name, column in columns.items():
        np.save(_column_path(folder, name), column)
    return dict(
        zip(columns, file_digests(_column_path(folder, name) for name in columns), strict=True)
    )


def _column_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _map_columns(folder: Path) -> ImageColumns:
    names = ImageColumns.__dataclass_fields__
    try:
        return ImageColumns(**{name: _map_column(_column_path(folder, name)) for name in names})
    except (OSError, ValueError, EOFError) as error:
        if is_of_this_process(error):
            raise
        raise DataError(f"{folder} is damaged, remove it: {error}") from error


def _map_column(path: Path) -> NDArray[Any]:
    try:
        column: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty column cannot be mapped
        column = np.load(path, allow_pickle=False)
    return column.view(np.ndarray)  # slices of plain arrays are cheaper than of memmaps


def _index_text(index: dict[str, Any]) -> str:
    return json.dumps({**index, _OWN_DIGEST: _index_digest(index)})


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
    except (OSError, ValueError) as error:
        if is_of_this_process(error):
            raise
        raise DataError(f"{folder} is no annotation store: {error}") from error
    if not isinstance(index, dict) or index.get("format_version") != FORMAT_VERSION:
        raise DataError(f"{folder} must be an annotation store of version {FORMAT_VERSION}")
    if index.pop(_OWN_DIGEST, None) != _index_digest(index):
        raise DataError(f"{folder} is damaged, its contents have changed: {_INDEX}")
    return index


def _index_digest(index: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(index).encode(), digest_size=16).hexdigest()
