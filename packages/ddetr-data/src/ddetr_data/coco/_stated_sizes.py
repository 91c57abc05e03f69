"""Sizes that a COCO file states for its images, where the boxes say otherwise.

I images, N boxes of all images together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import BORDER_TOLERANCE
from ddetr_data.faults import DataError
from ddetr_data.images import ImageHeader, read_header, size_fault
from ddetr_data.locations import AnyFile
from ddetr_data.parallel import IO_THREADS

FAR_OVER = 0.1  # of a side; labels that reach over the border by less are only sloppy


def contradicted_sizes(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    owners: NDArray[np.int64],  # (N,), each box's image
    sizes_wh: NDArray[np.int32],  # (I, 2), as the file states them
    locate: Callable[[int], AnyFile],  # image -> where it lies
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Find images whose stated size is wrong: boxes reach out of it, and fit the actual one.

    A stated size that is the image's before a resize or a turn is believed, and the boxes follow
    the image later, unless more boxes lie far outside it and inside the image than the other way.

    Yields:
        An image's index, and its width and height in pixels.
    """
    # Only doubted images are opened: behind a URL each costs a request, and most sets have none.
    stops = _stops(boxes_xywh)
    outside = ~_fits(stops, sizes_wh[owners])
    doubted = np.unique(owners[outside & np.isfinite(stops).all(axis=1)])
    if not len(doubted):
        return
    with ThreadPoolExecutor(IO_THREADS) as pool:
        headers = pool.map(lambda index: _header(locate(index)), doubted.tolist())
        found = {
            index: header
            for index, header in zip(doubted.tolist(), headers, strict=True)
            if header is not None and header.size_wh != tuple(sizes_wh[index].tolist())
        }
    votes = _votes(stops, owners, sizes_wh, found)
    for index, header in found.items():
        stated_wh = (int(sizes_wh[index, 0]), int(sizes_wh[index, 1]))
        if size_fault(stated_wh, header) == "other_image_size" or votes[index] > 0:
            yield index, header.size_wh


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
    with np.errstate(invalid="ignore"):
        fits: NDArray[np.bool_] = np.logical_and.reduce(
            stops <= sizes_wh + BORDER_TOLERANCE, axis=1
        )
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
