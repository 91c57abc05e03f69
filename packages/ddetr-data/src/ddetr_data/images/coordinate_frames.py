"""Moving boxes between coordinate frames, where an image is not of the size that its labels state.

There are up to three frames of one image, all with x to the right and y down from the top left
corner, in pixels: the stored one, as the pixels lie in the file; the upright one, after the turn
that EXIF asks for, which every reader here gives; and the stated one, which the labels are in.
Labelling tools that ignore EXIF state the stored frame; a set that was resized after labelling
states the size from before.

N objects of one image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import judge_boxes
from ddetr_data.faults import RULES
from ddetr_data.images.orientation import QUARTER_TURNS, ImageHeader
from ddetr_data.types import Annotations, ImageRecord

UNTRUE_SIZE = "other_image_size"  # the fault of a stated size that is the image's in no frame


def fit_objects(
    record: ImageRecord, header: ImageHeader, *, is_believed: bool = True
) -> tuple[str, Annotations, NDArray[np.bool_]]:
    """Bring an image's objects from the stated frame to the upright one, which its header tells.

    A stated size that is not believed moves no box: they are pixels of the image already.

    Returns:
        The fault (a key of RULES), all N objects, and which of them (N,) are inside the image.
    """
    stated_wh = (record.width, record.height)
    fault, moved = UNTRUE_SIZE, record.boxes_xywh
    if is_believed:
        fault, moved = move_boxes(record.boxes_xywh, stated_wh, header)
    boxes, inside = _clipped(moved, header.size_wh)
    growth = moved[:, 2:].prod(axis=1) / record.boxes_xywh[:, 2:].prod(axis=1)
    area = record.area * np.where(inside, growth, 1.0)
    return fault, replace(record.annotations, boxes_xywh=boxes, area=area), inside


def move_boxes(
    boxes_xywh: NDArray[np.float64], stated_wh: tuple[int, int], header: ImageHeader
) -> tuple[str, NDArray[np.float64]]:
    """Bring boxes (N, 4) from the stated frame to the upright one; also the fault's name."""
    fault = size_fault(stated_wh, header)
    if fault == "turned_image":
        return fault, turn_boxes(boxes_xywh, stated_wh, header.orientation)
    if fault == "resized_image":
        scale = np.array(header.size_wh) / np.array(stated_wh)
        return fault, boxes_xywh * np.tile(scale, 2)
    return fault, boxes_xywh


def size_fault(stated_wh: tuple[int, int], header: ImageHeader) -> str:
    """Name the fault of an image whose size is not the stated one."""
    stated, actual = stated_wh, header.size_wh
    if stated == header.stored_wh and header.orientation in QUARTER_TURNS:
        return "turned_image"
    if max(abs(one - other) for one, other in zip(stated, actual, strict=True)) <= 1:
        return UNTRUE_SIZE  # a border was cut off or added, which no resize does
    # The same shape, but for sides that a resize rounded to whole pixels.
    if abs(stated[0] * actual[1] - stated[1] * actual[0]) <= max(*stated, *actual):
        return "resized_image"
    return UNTRUE_SIZE


def turn_boxes(
    boxes_xywh: NDArray[np.float64],  # (N, 4), pixels of the stored image
    stored_wh: tuple[int, int],
    orientation: int,
) -> NDArray[np.float64]:
    """Turn boxes as the EXIF orientations 5 to 8 turn the stored image; gives (N, 4).

    All four swap the axes: 5 mirrors at the main diagonal, 6 turns clockwise by a quarter, 7
    mirrors at the other diagonal, and 8 turns the other way.
    """
    left, top, width, height = boxes_xywh.T
    from_right = stored_wh[0] - left - width
    from_bottom = stored_wh[1] - top - height
    x = from_bottom if orientation in (6, 7) else top
    y = from_right if orientation in (7, 8) else left
    return np.stack([x, y, height, width], axis=1)


def _clipped(
    boxes_xywh: NDArray[np.float64], size_wh: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Clip boxes (N, 4) to an image; also which are left (N,)."""
    sizes = np.tile(np.array(size_wh, np.int32), (len(boxes_xywh), 1))
    clipped, masks = judge_boxes(boxes_xywh, sizes)
    dropped = [mask for fault, mask in masks.items() if RULES[fault].action == "drop"]
    return clipped, ~np.logical_or.reduce(dropped)
