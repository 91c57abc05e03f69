"""The rows of COCO's tables, as every writer of one makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ddetr_data.types import Category

Row = dict[str, Any]


def image_row(id: int, file_name: str, size_wh: tuple[int, int]) -> Row:
    """An image; its size is in pixels."""
    width, height = size_wh
    return {"id": id, "file_name": file_name, "width": width, "height": height}


def object_row(
    id: int,
    image_id: int,
    label: int,
    box_xywh: Sequence[float],
    area: float,
    is_crowd: int = 0,
    is_region: bool = False,
) -> Row:
    """An object of an image; box in pixels and area in square pixels, plain numbers for JSON.

    A region to ignore is a crowd too, so that any reader of COCO scores it as what it is.
    """
    row = {
        "id": id,
        "image_id": image_id,
        "category_id": label,
        "bbox": box_xywh,
        "area": area,
        "iscrowd": int(is_crowd or is_region),
    }
    return {**row, "ignore": 1} if is_region else row


def category_rows(categories: Iterable[Category]) -> list[Row]:
    """The classes, in the given order."""
    return [{"id": category.id, "name": category.name} for category in categories]
