"""Rules for boxes in label files: which are read, dropped, or clipped to the image's border.

N boxes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ddetr_data._masks import box_of_mask

SMALLEST_SIDE = 0.01  # pixels; anything thinner is no object
BORDER_TOLERANCE = 1.0  # pixels; rounding in labelling tools, left as it is
LARGEST_EXTENT = 10.0  # of a box's side, in sides of its image
SMALLEST_IMAGE_TO_DOUBT = 16  # pixels; in smaller images a box inside the first pixel may be one
FEWEST_COORDINATES = 6  # of a polygon: three points
LARGEST_NUMBER = 2**53  # of a polygon's; beyond it floats are no longer whole pixels
_AT_ONCE = 2**16  # boxes that are looked at
_FEW_ROWS = 64  # whose repeats plain Python finds sooner than NumPy
FEWEST_TO_JUDGE = 3  # boxes; fewer say nothing about the format of a whole file
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with well mixed bits
NEARLY_ALL = 0.9  # of a file's boxes; the others have faults of their own

Masks = dict[str, NDArray[np.bool_]]  # fault -> (N,)


def parse_boxes(values: Sequence[object]) -> tuple[NDArray[np.float64], Masks]:
    """Read `bbox` values to (N, 4); faulty rows are NaN, and named in the masks."""
    try:
        boxes = np.array(values)
    except ValueError:  # ragged rows
        boxes = np.empty(0, object)
    if boxes.shape == (len(values), 4) and boxes.dtype.kind in "iuf":
        return boxes.astype(np.float64), {}
    parsed = [_parse_box(value) for value in values]
    rows = np.array([box for box, _ in parsed], np.float64).reshape(-1, 4)
    found = np.array([fault or "" for _, fault in parsed], np.str_)
    faults = ("missing_box", "malformed_box", "text_box")
    return rows, {fault: found == fault for fault in faults if (found == fault).any()}


def _parse_box(value: object) -> tuple[list[float], str | None]:
    nothing = [math.nan] * 4
    if value is None:
        return nothing, "missing_box"
    if not isinstance(value, list) or len(value) != 4:
        return nothing, "malformed_box"
    if any(
        isinstance(number, bool) or not isinstance(number, (int, float, str)) for number in value
    ):
        return nothing, "malformed_box"
    try:
        box = [float(number) for number in value]
    except (ValueError, OverflowError):
        return nothing, "malformed_box"
    return box, "text_box" if any(isinstance(number, str) for number in value) else None


def outline_box(segmentation: object) -> list[float] | None:
    """The box around COCO polygons or a mask in run lengths; None for anything else."""
    if isinstance(segmentation, Mapping):
        return box_of_mask(segmentation)
    polygons = segmentation if isinstance(segmentation, list) else []
    points: list[float] = []
    for polygon in polygons:
        if not _is_polygon(polygon):
            return None
        points += polygon
    if not points:
        return None
    left, top = min(points[0::2]), min(points[1::2])
    return [left, top, max(points[0::2]) - left, max(points[1::2]) - top]


def _is_polygon(value: object) -> TypeGuard[list[float]]:
    if not isinstance(value, list) or len(value) < FEWEST_COORDINATES or len(value) % 2:
        return False
    return all(type(side) in (int, float) and abs(side) < LARGEST_NUMBER for side in value)


def find_normalised(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    sizes_wh: NDArray[np.int32],  # (N, 2), of each box's image
) -> NDArray[np.bool_]:
    """Which boxes (N,) are normalised, not in pixels: they lie at fractions of the first pixel."""
    found = np.zeros(len(boxes_xywh), np.bool_)
    for part in _parts(len(found)):
        found[part] = _are_normalised(boxes_xywh[part], sizes_wh[part])
    return found


def _are_normalised(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.int32]
) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        outside = _any((boxes_xywh < 0) | (boxes_xywh > 1) | np.isnan(boxes_xywh))
        fractions = _any(boxes_xywh != np.floor(boxes_xywh))
    return fractions & ~outside & ~_any(sizes_wh < SMALLEST_IMAGE_TO_DOUBT)


def judge_boxes(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    sizes_wh: NDArray[np.int32],  # (N, 2), of each box's image
) -> tuple[NDArray[np.float64], Masks]:
    """Clip the boxes to their images and name those that must go, each by one fault.

    Boxes that reach over the border by at most BORDER_TOLERANCE stay as they are: labelling tools
    round, and COCO's scores are those of the boxes as they were written.

    Returns:
        The boxes (N, 4), and for each fault the rows that have it, (N,).
    """
    count = len(boxes_xywh)
    judged, masks = np.empty_like(boxes_xywh), Masks()
    for part in _parts(count):
        judged[part], found = _judge(boxes_xywh[part], sizes_wh[part])
        for fault, mask in found.items():
            masks.setdefault(fault, np.zeros(count, np.bool_))[part] = mask
    return judged, masks


def _judge(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.int32]
) -> tuple[NDArray[np.float64], Masks]:
    start, extent = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        stop = start + extent
        clipped_start = np.clip(start, 0, sizes_wh)
        clipped_extent = np.clip(stop, 0, sizes_wh) - clipped_start
        over = _any((start < -BORDER_TOLERANCE) | (stop > sizes_wh + BORDER_TOLERANCE))
        candidates = {
            "not_finite_box": _any(~np.isfinite(boxes_xywh)),
            "inverted_box": _any(extent < 0),
            "zero_box": _any(extent < SMALLEST_SIDE),
            "huge_box": _any(extent > LARGEST_EXTENT * sizes_wh),
            "outside_box": _any(clipped_extent < SMALLEST_SIDE),
        }
    masks = _first_of(candidates)
    # A dropped box is not counted as clipped too: a row has one fault at most.
    masks["clipped_box"] = over & ~np.logical_or.reduce(list(masks.values()))
    clipped = np.concatenate([clipped_start, clipped_extent], axis=1)
    return np.where(masks["clipped_box"][:, None], clipped, boxes_xywh), masks


def _parts(count: int) -> Iterator[slice]:
    """Divide so many boxes, at least into one part: looking at one takes ten times its memory."""
    for first in range(0, max(count, 1), _AT_ONCE):
        yield slice(first, first + _AT_ONCE)


def _any(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_or.reduce(values, axis=1)
    return found


def _first_of(candidates: Masks) -> Masks:
    """Give each row only the first of the faults that apply to it, in the order of candidates."""
    masks: Masks = {}
    free = np.ones(len(next(iter(candidates.values()))), np.bool_)
    for fault, mask in candidates.items():
        masks[fault] = mask & free
        free &= ~mask
    return masks


def upright_boxes(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    degrees: NDArray[np.float64],  # (N,), each box's rotation around its centre
) -> NDArray[np.float64]:
    """The upright boxes (N, 4) around boxes that are rotated; half turns change nothing."""
    cosine, sine = (np.abs(function(np.radians(degrees))) for function in (np.cos, np.sin))
    width, height = boxes_xywh[:, 2], boxes_xywh[:, 3]
    extent = np.stack([width * cosine + height * sine, width * sine + height * cosine], axis=1)
    center = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2
    return np.concatenate([center - extent / 2, extent], axis=1)


def find_repeats(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows (N,) of columns, (N,) each, are equal to an earlier row."""
    if len(columns[0]) <= _FEW_ROWS:
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        if len(set(rows)) == len(rows):
            return np.zeros(len(rows), np.bool_)
    values = [np.ascontiguousarray(column, np.float64) + 0.0 for column in columns]  # no -0.0
    hashes = np.zeros(len(values[0]), np.uint64)
    for column in values:  # unsigned numbers overflow in silence
        bits = column.view(np.uint64)
        hashes = (hashes ^ (bits >> np.uint64(29)) ^ bits) * _HASH_FACTOR
    repeats = np.zeros(len(hashes), np.bool_)
    if (np.diff(np.sort(hashes)) == 0).any():
        order = np.argsort(hashes, kind="stable")
        earlier, later = order[:-1], order[1:]
        repeats[later] = np.logical_and.reduce([each[later] == each[earlier] for each in values])
    return repeats


def find_wrong_format(
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    sizes_wh: NDArray[np.int32],  # (N, 2), of each box's image
) -> str | None:
    """Say which format the boxes of a whole file really are in, None when x, y, width, height."""
    count, normalised, as_corners, outside = np.sum(
        [_fit_counts(boxes_xywh[part], sizes_wh[part]) for part in _parts(len(boxes_xywh))], axis=0
    ).tolist()
    if count < FEWEST_TO_JUDGE:
        return None
    if normalised / count >= NEARLY_ALL:
        return "normalised (0 to 1)"
    # Half of the boxes must stick out as sizes: boxes near the top left fit in both ways.
    if as_corners / count >= NEARLY_ALL and outside / count >= 0.5:
        return "corners (left, top, right, bottom)"
    return None


def _fit_counts(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.int32]
) -> tuple[int, int, int, int]:
    """Count the boxes with an extent, and those normalised, like corners, and out of the image."""
    with np.errstate(invalid="ignore"):
        possible = np.isfinite(boxes_xywh).all(1) & (boxes_xywh[:, 2:] > 0).all(1)
    boxes, sizes = boxes_xywh[possible], sizes_wh[possible]
    normalised = ((boxes >= 0) & (boxes <= 1)).all(1)
    last, limit = boxes[:, 2:], sizes + BORDER_TOLERANCE
    as_corners = ((last > boxes[:, :2]) & (last <= limit)).all(1)
    with np.errstate(over="ignore"):
        outside = (boxes[:, :2] + last > limit).any(1)
    return len(boxes), int(normalised.sum()), int(as_corners.sum()), int(outside.sum())
