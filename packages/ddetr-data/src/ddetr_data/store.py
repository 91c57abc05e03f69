"""A detection set as memory-mapped columns on disk, shared by all workers and ranks.

A store is a folder: one .npy file a column, and index.json with the classes, image folders and
faults. It is written beside its place and renamed, so a half-written store is never seen.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet
from ddetr_data.faults import DataError, FaultLog
from ddetr_data.image_table import ImageColumns, ImageTable
from ddetr_data.types import Category

FORMAT_VERSION = 2  # also raised when a rule for faulty labels changes
_INDEX = "index.json"


class StoredTable(ImageTable):
    """An image table over a store's files; other processes map the same pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = _read_index(folder)
        super().__init__(_map_columns(folder), index["image_dirs"])

    def __reduce__(self) -> tuple[type[StoredTable], tuple[Path]]:
        return StoredTable, (self.folder,)


def write_store(detection_set: DetectionSet, folder: Path) -> None:
    """Write a set whose images are an ImageTable; a store that stands there already stays.

    Raises:
        OSError: the folder cannot be written.
    """
    table = detection_set.images
    if not isinstance(table, ImageTable):
        raise TypeError(f"images must be an ImageTable, got {type(table).__name__}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_columns(table.columns, part)
        index = {
            "format_version": FORMAT_VERSION,
            "image_dirs": table.image_dirs,
            "categories": [asdict(category) for category in detection_set.categories],
            "faults": detection_set.faults.to_dict(),
        }
        (part / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was faster, its store is the same
            part.rename(folder)
        if not is_store(folder):
            raise OSError(f"{folder} is no store and cannot be replaced by one, remove it")
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
    return StoredSet(StoredTable(folder), categories, FaultLog.from_dict(index["faults"]))


def is_store(folder: Path) -> bool:
    """Whether a whole store of this version stands there."""
    try:
        _read_index(folder)
    except DataError:
        return False
    return True


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Let one process at a time build a store; the others wait here.

    Where the system has no file locks, all may build, and the first to finish wins.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_columns(columns: ImageColumns, folder: Path) -> None:
    for name, column in columns.as_dict().items():
        np.save(folder / f"{name}.npy", column)


def _map_columns(folder: Path) -> ImageColumns:
    names = ImageColumns.__dataclass_fields__
    return ImageColumns(**{name: _map_column(folder / f"{name}.npy") for name in names})


def _map_column(path: Path) -> NDArray[Any]:
    try:
        column: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty column cannot be mapped
        column = np.load(path, allow_pickle=False)
    return column.view(np.ndarray)  # slices of plain arrays are cheaper than of memmaps


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no annotation store: {error}") from error
    if not isinstance(index, dict) or index.get("format_version") != FORMAT_VERSION:
        raise DataError(f"{folder} must be an annotation store of version {FORMAT_VERSION}")
    return index
