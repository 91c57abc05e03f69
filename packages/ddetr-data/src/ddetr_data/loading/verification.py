"""Labels against their image files, before a run starts: readable, whole, and of the same size.

I images, N objects of one image or of all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet, ImageTable, as_table
from ddetr_data.faults import DataError, FaultLog, Losses
from ddetr_data.images import (
    ImageHeader,
    WhiteLevels,
    check_whole,
    find_placeholders,
    fit_objects,
    read_header,
)
from ddetr_data.locations import AnyFile, fetched
from ddetr_data.parallel import IO_THREADS, map_in_chunks
from ddetr_data.types import Annotations

PART = 64  # images a thread reads at a time
LISTED = 3  # names of unusable images in an error

logger = logging.getLogger(__name__)


def verify_images(
    detection_set: DetectionSet,
    *,
    corrupt_images: Literal["error", "skip"] = "error",
    on_progress: Callable[[int, int], None] | None = None,
) -> DetectionSet:
    """Check that every image decodes, and move boxes where it is not of the stated size.

    Args:
        detection_set: as load_sources gives it.
        corrupt_images: error refuses missing and damaged images, skip leaves them out.
        on_progress: called with images done and images in all.

    Returns:
        A set of the usable images, its faults added to those that are known, and the largest
        values of those that have more than 8 bits a channel.

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
    faults, losses = detection_set.faults.copy(), Losses(detection_set.losses)
    for index, fault in unusable.items():
        name = "missing_image" if isinstance(fault, FileNotFoundError) else "unreadable_image"
        faults.add(name, str(fault))
        losses.update(_lost(name, table[index].annotations))
    usable = np.array([not isinstance(header, Exception) for header in found], np.bool_)
    largest = WhiteLevels.largest(
        header.largest for header in found if isinstance(header, ImageHeader)
    )
    known = replace(detection_set, losses=losses, largest=largest)
    return _fitted(known, found, usable, faults)


def fit_to_headers(detection_set: DetectionSet) -> DetectionSet:
    """Move boxes where a header tells another size than is stated; unreadable images keep theirs.

    Raises:
        TypeError: the set's images are not an ImageTable.
    """
    found = _look_at(as_table(detection_set.images), read_header, None)
    everything = np.ones(len(found), np.bool_)
    return _fitted(detection_set, found, everything, detection_set.faults.copy())


def _look_at(
    table: ImageTable,
    look: Callable[[AnyFile], ImageHeader],
    on_progress: Callable[[int, int], None] | None,
) -> list[ImageHeader | Exception]:
    """The header of every image, or why there is none; by threads, in order."""

    def inspect(part: Sequence[int]) -> list[ImageHeader | Exception]:
        return [_inspect(table.path(index), look) for index in part]

    everything = range(len(table))
    parts = map_in_chunks(inspect, everything, PART, IO_THREADS, "threads", on_progress)
    return [header for part in parts for header in part]


def _inspect(path: AnyFile, look: Callable[[AnyFile], ImageHeader]) -> ImageHeader | Exception:
    try:
        return look(fetched(path))
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


def _fitted(
    detection_set: DetectionSet,
    headers: Sequence[ImageHeader | Exception],
    kept: NDArray[np.bool_],  # (I,)
    faults: FaultLog,
) -> DetectionSet:
    """Take sizes from the headers, move boxes by them, and leave out images that are not kept.

    What this adds to the faults is logged.
    """
    table = as_table(detection_set.images)
    columns, stated = table.columns, table.columns.sizes_wh
    pairs = zip(headers, stated, strict=True)
    actual = np.array([s if isinstance(h, Exception) else h.size_wh for h, s in pairs])
    strange = np.flatnonzero((actual != stated).any(axis=1))
    boxes, area = columns.boxes_xywh, columns.area
    unlike = {i: h for i in strange.tolist() if isinstance(h := headers[i], ImageHeader)}
    placeholders = find_placeholders(stated, unlike, boxes, columns.owners) if unlike else set()
    objects, losses = np.ones(len(boxes), np.bool_), Losses(detection_set.losses)
    if len(strange):
        boxes, area = boxes.copy(), area.copy()
    for index, header in unlike.items():  # what cannot be read keeps its stated size
        record = table[index]
        rows = slice(*columns.object_ends[index : index + 2])
        is_believed = index not in placeholders
        fault, fitted, inside = fit_objects(record, header, is_believed=is_believed)
        faults.add(fault, f"the image {record.path}")
        if not inside.all():
            faults.add("outside_box", f"the image {record.path}", int((~inside).sum()))
            losses.update(_lost("outside_box", fitted.keep(~inside)))
        objects[rows] = inside
        boxes[rows], area[rows] = fitted.boxes_xywh, fitted.area
    if len(strange) or not kept.all():
        sizes_wh = actual.astype(np.int32)
        changed = replace(columns, sizes_wh=sizes_wh, boxes_xywh=boxes, area=area)
        table = ImageTable(changed.keep(kept, objects), table.image_dirs)
    for sentence in faults.sentences(known=detection_set.faults):
        logger.warning("labels: %s", sentence)
    return replace(detection_set, images=table, faults=faults, losses=losses)


def _lost(fault: str, objects: Annotations) -> Losses:
    """Count objects by class; crowds are none."""
    return Losses((fault, label) for label in objects.labels[~objects.is_crowd].tolist())
