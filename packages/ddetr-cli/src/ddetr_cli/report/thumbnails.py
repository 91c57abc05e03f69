"""Small images inside the page, with objects and detections drawn on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from ddetr_data import Category, Detections, ImageRecord
from ddetr_data.images import USUAL_WHITE, WhiteLevels, draw_detections, jpeg_address, open_image

OBJECT_COLOR = "#1a9850"
FOUND_COLOR = "#d73027"
_SIDE = 360  # pixels of the longer one; a small image is enlarged, so that words fit beside it
_LARGEST_ENLARGEMENT = 4.0


class ShownObjects(Protocol):
    """An image whose objects and detections are drawn."""

    @property
    def record(self) -> ImageRecord:
        """The image, with the objects."""
        ...

    @property
    def found(self) -> Detections:
        """The detections."""
        ...


def thumbnail(
    image: ShownObjects,
    categories: Sequence[Category],
    white: WhiteLevels = USUAL_WHITE,
    region_xyxy: tuple[float, float, float, float] | None = None,
) -> str:
    """Draw objects and detections on the image, as a data: address of a JPEG.

    Args:
        image: with what is drawn.
        categories: names of the detections' labels.
        white: which value of more than 8 bits is white.
        region_xyxy: the part to show, in pixels of the image; None: all of it.

    Raises:
        FileNotFoundError, DataError: the image is not there any more, or cannot be read.
    """
    opened = open_image(image.record.path, white)
    left, top = 0, 0
    if region_xyxy is not None:
        left, top = (max(0, math.floor(side)) for side in region_xyxy[:2])
        right, bottom = map(math.ceil, region_xyxy[2:])
        opened = opened.crop((left, top, min(opened.width, right), min(opened.height, bottom)))
    scale = min(_LARGEST_ENLARGEMENT, _SIDE / max(opened.size))
    size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
    return jpeg_address(_draw(opened.resize(size), image, categories, scale, (left, top)))


def _draw(
    resized: Image.Image,
    image: ShownObjects,
    categories: Sequence[Category],
    scale: float,
    origin: tuple[int, int],
) -> Image.Image:
    pen = ImageDraw.Draw(resized)
    boxes = (image.record.boxes_xywh - [*origin, 0, 0]) * scale
    for left, top, width, height in boxes.tolist():
        pen.rectangle((left, top, left + width, top + height), outline=OBJECT_COLOR, width=2)
    corner = np.array([*origin, *origin], np.float32)
    found = replace(image.found, boxes_xyxy=(image.found.boxes_xyxy - corner) * np.float32(scale))
    colors = {category.name: FOUND_COLOR for category in categories}
    return draw_detections(resized, found, categories, color_map=colors, outline_width=1)
