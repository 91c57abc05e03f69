"""Detections as rows of COCO's results format, and back.

K detections of one image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from ddetr_data.boxes import parse_boxes
from ddetr_data.coco._ids import as_id
from ddetr_data.faults import DataError
from ddetr_data.types import Detections


class ResultRow(TypedDict):
    """One detection."""

    image_id: int
    category_id: int
    bbox: list[float]  # left, top, width, height in pixels
    score: float


def detections_to_coco(image_id: int, detections: Detections) -> list[ResultRow]:
    """Give one image's detections as rows; those with a NaN or an infinity are left out."""
    boxes = detections.boxes_xyxy.astype(np.float64)
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    usable = np.isfinite(boxes_xywh).all(axis=1) & np.isfinite(detections.scores)
    columns = (detections.labels, boxes_xywh, detections.scores)
    return [
        ResultRow(image_id=image_id, category_id=label, bbox=box, score=score)
        for label, box, score in zip(*(each[usable].tolist() for each in columns), strict=True)
    ]


def detections_from_coco(rows: Sequence[Mapping[str, Any]]) -> dict[int, Detections]:
    """Read rows to image id -> detections, best first; boxes are rounded to float32.

    Raises:
        DataError: a row has no usable id, box or score.
    """
    return {image_id: _detections_of(found) for image_id, found in read_results(rows).items()}


def read_results(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[ResultRow]]:
    """Check rows and group them by image; ids and numbers may be written as texts.

    Raises:
        DataError: a row has no usable id, box or score.
    """
    by_image: dict[int, list[ResultRow]] = {}
    for number, row in enumerate(rows):
        checked = _read_row(row, f"detection {number}")
        by_image.setdefault(checked["image_id"], []).append(checked)
    return by_image


def _read_row(row: Mapping[str, Any], where: str) -> ResultRow:
    image_id, category_id = as_id(row.get("image_id")), as_id(row.get("category_id"))
    if not isinstance(image_id, int) or not isinstance(category_id, int):
        raise DataError(f"{where} must have numbers as image_id and category_id, it is {row}")
    boxes, _ = parse_boxes([row.get("bbox")])
    if not np.isfinite(boxes).all():
        raise DataError(f"{where} must have a bbox of four numbers, got {row.get('bbox')}")
    score = row.get("score")
    if not isinstance(score, (int, float)) or not math.isfinite(score):
        raise DataError(f"{where} must have a number as score, got {score!r}")
    return ResultRow(
        image_id=image_id, category_id=category_id, bbox=boxes[0].tolist(), score=float(score)
    )


def _detections_of(rows: list[ResultRow]) -> Detections:
    rows = sorted(rows, key=lambda row: -row["score"])
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(
        boxes.astype(np.float32),
        np.array([row["score"] for row in rows], np.float32),
        np.array([row["category_id"] for row in rows], np.int64),
    )
