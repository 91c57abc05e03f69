"""Labels against their image files, before a run starts: readable, whole, and of the same size.

I images, N objects of one image or of all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet, ImageColumns, ImageTable, as_table
from ddetr_data.faults import DataError, FaultLog
from ddetr_data.images import ImageHeader, check_whole, fit_objects, read_header
from ddetr_data.locations import AnyFile, RemoteFile
from ddetr_data.parallel import available_cores

READERS = max(8, available_cores())  # threads; decoding lets go of the interpreter
PART = 64  # images a thread reads at a time
LISTED = 3  # names of unusable images in an error

logger = logging.getLogger(__name__)


def verify_images(
    detection_set: DetectionSet,
    *,
    corrupt_images: Literal["error", "skip"] = "error",
    on_progress: Callable[[int, int], None] | None = None,
) -> DetectionSet:
    """See that every image can be decoded; bring sizes and boxes to the images as they are.

    Args:
        detection_set: as load_sources gives it.
        corrupt_images: error refuses missing and damaged images, skip leaves them out.
        on_progress: called with images done and images in all.

    Returns:
        A set of the usable images, its faults added to those that are known.

    Raises:
        DataError: images are missing or damaged, or none is left.
        TypeError: the set's images are not an ImageTable.
    """
    table = as_table(detection_set.images)
    found = _look_at(table, check_whole, on_progress)
    unusable = {i: fault for i, fault in enumerate(found) if isinstance(fault, Exception)}
    if unusable and corrupt_images == "error":
        raise DataError(_refusal(list(unusable.values()), len(table)))
    if len(unusable) == len(table):
        raise DataError(f"none of the {len(table)} images can be used: {unusable[0]}")
    faults = detection_set.faults.copy()
    for fault in unusable.values():
        missing = isinstance(fault, FileNotFoundError)
        faults.add("missing_image" if missing else "unreadable_image", str(fault))
    headers = [None if isinstance(header, Exception) else header for header in found]
    usable = np.array([header is not None for header in headers], np.bool_)
    return _with_images(detection_set, _fit_to_images(table, headers, usable, faults), faults)


def fit_to_headers(detection_set: DetectionSet) -> DetectionSet:
    """Bring sizes and boxes to what the images' headers say; unreadable images keep theirs.

    Raises:
        TypeError: the set's images are not an ImageTable.
    """
    table, faults = as_table(detection_set.images), detection_set.faults.copy()
    found = _look_at(table, read_header, None)
    headers = [None if isinstance(header, Exception) else header for header in found]
    everything = np.ones(len(table), np.bool_)
    return _with_images(detection_set, _fit_to_images(table, headers, everything, faults), faults)


def _with_images(
    detection_set: DetectionSet, columns: ImageColumns, faults: FaultLog
) -> DetectionSet:
    """Replace the images of a set, and log what the new ones add to its faults."""
    for sentence in faults.sentences(known=detection_set.faults):
        logger.warning("labels: %s", sentence)
    image_dirs = as_table(detection_set.images).image_dirs
    return replace(detection_set, images=ImageTable(columns, image_dirs), faults=faults)


def _look_at(
    table: ImageTable,
    look: Callable[[AnyFile], ImageHeader],
    on_progress: Callable[[int, int], None] | None,
) -> list[ImageHeader | Exception]:
    """The header of every image, or why there is none; by threads, in order."""

    def inspect(part: range) -> list[ImageHeader | Exception]:
        return [_inspect(table.path(index), look) for index in part]

    parts = [range(start, min(start + PART, len(table))) for start in range(0, len(table), PART)]
    found: list[ImageHeader | Exception] = []
    with ThreadPoolExecutor(READERS) as pool:
        for headers in pool.map(inspect, parts):
            found += headers
            if on_progress is not None:
                on_progress(len(found), len(table))
    return found


def _inspect(path: AnyFile, look: Callable[[AnyFile], ImageHeader]) -> ImageHeader | Exception:
    try:
        return look(path.fetched() if isinstance(path, RemoteFile) else path)
    except (DataError, FileNotFoundError) as error:
        return error


def _refusal(faults: Sequence[Exception], total: int) -> str:
    listed = "; ".join(str(fault) for fault in faults[:LISTED])
    more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    return (
        f"{len(faults)} of {total} images cannot be used: {listed}{more} "
        "(mend them; dataset.corrupt_images=skip leaves images out of training, "
        "validation and test need every one)"
    )


def _fit_to_images(
    table: ImageTable,
    headers: Sequence[ImageHeader | None],
    kept: NDArray[np.bool_],  # (I,)
    faults: FaultLog,
) -> ImageColumns:
    """Take sizes from the images and bring their boxes along; leave out what is not kept."""
    columns = table.columns
    stated = columns.sizes_wh
    actual = np.array([h.size_wh if h else s for h, s in zip(headers, stated, strict=True)])
    strange = np.flatnonzero((actual != stated).any(axis=1))
    boxes, area = columns.boxes_xywh, columns.area
    objects = np.ones(len(boxes), np.bool_)
    if len(strange):
        boxes, area = boxes.copy(), area.copy()
    for index in strange.tolist():
        header, record = headers[index], table[index]
        if header is None:  # keeps its stated size, so it is never strange
            continue
        rows = slice(*columns.object_ends[index : index + 2])
        fault, fitted, inside = fit_objects(record, header)
        faults.add(fault, f"the image {record.path}")
        if not inside.all():
            faults.add("outside_box", f"the image {record.path}", int((~inside).sum()))
        objects[rows] = inside
        boxes[rows], area[rows] = fitted.boxes_xywh, fitted.area
    sizes_wh = actual.astype(np.int32)
    changed = replace(columns, sizes_wh=sizes_wh, boxes_xywh=boxes, area=area)
    return columns if kept.all() and not len(strange) else changed.keep(kept, objects)
