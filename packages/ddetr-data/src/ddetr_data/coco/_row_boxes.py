"""The boxes of annotation rows: as they are written, or around what else outlines the object.

N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import Masks, outline_box, parse_boxes, upright_boxes
from ddetr_data.coco._row_table import Row, RowTable

_NO_BOXES: tuple[list[int], ...] = ([], [0, 0, 0, 0])  # that tools write for none


def boxes_of_rows(rows: Sequence[Row]) -> tuple[NDArray[np.float64], Masks]:
    """The boxes (N, 4), left, top, width and height in pixels, and the faults that they have.

    A box that is absent, null, empty or all zeros is the one around the row's polygons or mask. A
    box that attributes.rotation turns, as CVAT exports it, is the upright one around it.
    """
    if isinstance(rows, RowTable):  # whose boxes are all written, and upright
        return rows.columns["bbox"], {}
    values = [row.get("bbox") for row in rows]
    outlined = np.zeros(len(rows), np.bool_)
    for number, value in enumerate(values):
        if value is None or value in _NO_BOXES:
            outline = outline_box(rows[number].get("segmentation"))
            outlined[number] = outline is not None
            values[number] = outline or value or None
    boxes, found = parse_boxes(values)
    degrees = np.zeros(len(rows))
    for number, row in enumerate(rows):
        if "attributes" in row:
            degrees[number] = _rotation_of(row)
    rotated = (degrees % 180 != 0) & np.isfinite(boxes).all(axis=1) & ~outlined
    if rotated.any():
        boxes[rotated] = upright_boxes(boxes[rotated], degrees[rotated])
    return boxes, {**found, "outlined_box": outlined, "rotated_box": rotated}


def _rotation_of(row: Row) -> float:
    """Degrees that a box is turned by around its centre; polygons have their turn in them."""
    attributes = row.get("attributes")
    if not isinstance(attributes, dict) or row.get("segmentation"):
        return 0.0
    try:
        degrees = float(attributes.get("rotation") or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return degrees if math.isfinite(degrees) else 0.0
