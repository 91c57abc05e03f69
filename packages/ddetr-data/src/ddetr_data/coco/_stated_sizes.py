"""Sizes that a COCO file states for its images, where the boxes say otherwise.

I images, N boxes of all images together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import BORDER_TOLERANCE
from ddetr_data.faults import DataError
from ddetr_data.images import (
    UNTRUE_SIZE,
    ImageHeader,
    find_placeholders,
    read_header,
    size_fault,
)
from ddetr_data.locations import AnyFile
from ddetr_data.parallel import IO_THREADS

FEWEST_REFUTED = 0.01  # of the images with one stated size, before the others are opened too
FAR_OVER = 0.1  # of a side; labels that reach over the border by less are only sloppy


def contradicted_sizes(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    owners: NDArray[np.int64],  # (N,), each box's image
    sizes_wh: NDArray[np.int32],  # (I, 2), as the file states them
    locate: Callable[[int], AnyFile],  # image -> where it lies
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Find images whose stated size is wrong: boxes reach out of it, and fit the actual one.

    A stated size that is the image's before a resize or a turn is believed, and the boxes follow
    the image later, unless more boxes lie far outside it and inside the image than the other way,
    or it is a placeholder, untrue of other images with the same stated size.

    Yields:
        An image's index, and its width and height in pixels.
    """
    # Only doubted images are opened: behind a URL each costs a request, and most sets have none.
    stops = _stops(boxes_xywh)
    outside = ~_fits(stops, sizes_wh[owners])
    doubted = np.unique(owners[outside & np.isfinite(stops).all(axis=1)])
    found = _unlike(doubted, sizes_wh, locate)
    votes = _votes(stops, owners, sizes_wh, found)
    wrong = {
        index
        for index, header in found.items()
        if size_fault(_wh(sizes_wh, index), header) == UNTRUE_SIZE or votes[index] > 0
    }
    if wrong:
        found |= _unlike(_of_same_sizes(sizes_wh, wrong, found), sizes_wh, locate)
        wrong |= find_placeholders(sizes_wh, found, boxes_xywh, owners, refuted=wrong)
    for index in sorted(wrong):
        yield index, found[index].size_wh


def _of_same_sizes(
    sizes_wh: NDArray[np.int32], wrong: Collection[int], opened: Collection[int]
) -> NDArray[np.int64]:
    """Unopened images of a stated size that is wrong for others, and not for a few alone."""
    groups = np.unique(sizes_wh, axis=0, return_inverse=True)[1].reshape(-1)
    counts, refuted = np.bincount(groups), np.bincount(groups[list(wrong)])
    refuted = np.concatenate([refuted, np.zeros(len(counts) - len(refuted), refuted.dtype)])
    suspected = (refuted >= FEWEST_REFUTED * counts)[groups]
    suspected[list(opened)] = False
    return np.flatnonzero(suspected)


def _unlike(
    images: NDArray[np.int64], sizes_wh: NDArray[np.int32], locate: Callable[[int], AnyFile]
) -> dict[int, ImageHeader]:
    """Open images; gives the headers of those that are not of the size stated."""
    if not len(images):
        return {}
    with ThreadPoolExecutor(IO_THREADS) as pool:
        headers = pool.map(lambda index: _header(locate(index)), images.tolist())
        return {
            index: header
            for index, header in zip(images.tolist(), headers, strict=True)
            if header is not None and header.size_wh != _wh(sizes_wh, index)
        }


def _wh(sizes_wh: NDArray[np.int32], index: int) -> tuple[int, int]:
    return int(sizes_wh[index, 0]), int(sizes_wh[index, 1])


def _header(path: AnyFile) -> ImageHeader | None:
    try:
        return read_header(path)
    except (DataError, FileNotFoundError):  # told when the images are verified
        return None


def _stops(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right and bottom (N, 2), NaN for boxes without an extent."""
    start, extent = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        possible = np.logical_and.reduce(extent > 0, axis=1)
        return np.where(possible[:, None], start + extent, np.nan)


def _fits(stops: NDArray[np.float64], sizes_wh: NDArray[np.int32]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # a side at a time, for less memory
        wide, high = (stops[:, side] <= sizes_wh[:, side] + BORDER_TOLERANCE for side in (0, 1))
    fits: NDArray[np.bool_] = wide & high
    return fits


def _votes(
    stops: NDArray[np.float64],
    owners: NDArray[np.int64],
    sizes_wh: NDArray[np.int32],
    found: dict[int, ImageHeader],
) -> NDArray[np.int64]:
    """For each image (I,): boxes that fit its actual size alone, minus those of the stated one."""
    actual_wh = sizes_wh.copy()
    for index, header in found.items():
        actual_wh[index] = header.size_wh
    stated, actual = sizes_wh[owners], actual_wh[owners]
    with np.errstate(invalid="ignore"):
        far = (stops > stated * (1 + FAR_OVER)).any(axis=1)
    fits_actual, fits_stated = _fits(stops, actual), _fits(stops, stated)
    ours, theirs = (
        np.bincount(owners[votes], minlength=len(sizes_wh))
        for votes in (far & fits_actual, fits_stated & ~fits_actual)
    )
    return ours - theirs
