"""Image files as they were when labels were verified against them, and which have changed since.

I images of a set, J images that were left out of it.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import ImageTable, is_plain_name, locate_image
from ddetr_data.faults import DataError
from ddetr_data.images import WhiteLevels, check_whole
from ddetr_data.locations import fetched, is_url, join, list_states
from ddetr_data.parallel import IO_THREADS

MISSING = -1  # instead of a file's size
_PART = 4096  # images a thread asks for at a time
_UNKNOWN = (float(MISSING), 0.0)

States = NDArray[np.float64]  # (I, 2): size in bytes, time of change in seconds since 1970
Listings = dict[str, dict[str, tuple[float, float]]]  # folder behind a URL -> name -> state


@dataclass(frozen=True, eq=False)
class SeenFiles:
    """Sizes of the image files of a set, and what was left out because it was not usable."""

    at: float  # seconds since 1970, before the first was looked into
    sizes_bytes: NDArray[np.int64]  # (I,), MISSING where there was none
    left_out: tuple[tuple[int, str, int], ...] = ()  # (J,): image folder, file name, size in bytes
    is_complete: bool = True  # False: images were left out that are not named here

    @classmethod
    def of(cls, table: ImageTable) -> SeenFiles:
        """Look at the files of a set, before they are looked into."""
        at = time.time()
        return cls(at, file_states(table)[:, 0].astype(np.int64))

    def kept(self, before: ImageTable, after: ImageTable, *, is_complete: bool) -> SeenFiles:
        """Divide the files into those of images that are still in the set, and those left out."""
        is_kept = np.isin(before.columns.ids, after.columns.ids)
        left_out = tuple(
            (int(before.columns.sources[index]), before.file_name(index), size)
            for index in np.flatnonzero(~is_kept).tolist()
            for size in [int(self.sizes_bytes[index])]
        )
        return SeenFiles(self.at, self.sizes_bytes[is_kept], left_out, is_complete)


def find_changes(table: ImageTable, seen: SeenFiles, largest: WhiteLevels) -> tuple[int, int]:
    """Compare the files of a set with what they were.

    A file of another size has changed. One with a later time is looked into: it has changed when it
    is damaged, of other width or height, or has larger values than the set had. One that was left
    out may not have changed at all.

    Returns:
        How many files are no longer what they were, and how many were opened to find out.
    """
    states = file_states(table)
    changed = int((states[:, 0] != seen.sizes_bytes).sum()) + (not seen.is_complete)
    listings: Listings = {}
    for source, name, size in seen.left_out:
        now = _state_of(table.image_dirs[source], name, listings)
        changed += now[0] != size or now[1] > seen.at
    newer = [] if changed else np.flatnonzero(states[:, 1] > seen.at).tolist()
    with ThreadPoolExecutor(IO_THREADS) as pool:
        unlike = sum(not still for still in pool.map(partial(_is_as_stated, table, largest), newer))
    return changed + unlike, len(newer)


def file_states(table: ImageTable) -> States:
    """Ask for size and time of every image; behind a URL each folder is listed once."""
    starts = range(0, len(table), _PART)
    if any(is_url(image_dir) for image_dir in table.image_dirs):
        listings: Listings = {}
        return np.concatenate([_states_of(table, listings, start) for start in starts])
    with ThreadPoolExecutor(IO_THREADS) as pool:
        return np.concatenate(list(pool.map(partial(_states_of, table, {}), starts)))


def _states_of(table: ImageTable, listings: Listings, start: int) -> States:
    images = table.folders_and_names(start, min(start + _PART, len(table)))
    return np.array([_state_of(image_dir, name, listings) for image_dir, name in images])


def _state_of(image_dir: str, name: str, listings: Listings) -> tuple[float, float]:
    if is_url(image_dir):
        return _listed(str(join(image_dir, name)), listings)
    # A plain name lies where it says: no time is spent on a Path.
    plain = is_plain_name(name)
    path = os.path.join(image_dir, name) if plain else str(locate_image(image_dir, name))
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return _UNKNOWN
    return float(found.st_size), found.st_mtime


def _listed(url: str, listings: Listings) -> tuple[float, float]:
    folder, _, base = url.rpartition("/")
    if folder not in listings:
        listings[folder] = list_states(folder)
    return listings[folder].get(base, _UNKNOWN)


def _is_as_stated(table: ImageTable, largest: WhiteLevels, index: int) -> bool:
    record = table[index]
    try:
        header = check_whole(fetched(record.path))
    except (DataError, FileNotFoundError):
        return False
    is_within = WhiteLevels.largest((header.largest, largest)) == largest
    return header.size_wh == (record.width, record.height) and is_within
