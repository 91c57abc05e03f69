"""Small images inside the page, with objects and detections drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageDraw

from ddetr_cli.report.mistakes import BadImage
from ddetr_data import Category
from ddetr_data.images import USUAL_WHITE, WhiteLevels, draw_detections, jpeg_address, open_image

OBJECT_COLOR = "#1a9850"
FOUND_COLOR = "#d73027"
_SIDE = 360  # pixels of the longer one; a small image is enlarged, so that words fit beside it
_LARGEST_ENLARGEMENT = 4.0


def thumbnail(
    image: BadImage, categories: Sequence[Category], white: WhiteLevels = USUAL_WHITE
) -> str:
    """Draw objects and detections on the image, as a data: address of a JPEG.

    Raises:
        FileNotFoundError, DataError: the image is not there any more, or cannot be read.
    """
    opened = open_image(image.record.path, white)
    scale = min(_LARGEST_ENLARGEMENT, _SIDE / max(opened.size))
    size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
    return jpeg_address(_draw(opened.resize(size), image, categories, scale))


def _draw(
    resized: Image.Image, image: BadImage, categories: Sequence[Category], scale: float
) -> Image.Image:
    pen = ImageDraw.Draw(resized)
    for left, top, width, height in (image.record.boxes_xywh * scale).tolist():
        pen.rectangle((left, top, left + width, top + height), outline=OBJECT_COLOR, width=2)
    found = replace(image.found, boxes_xyxy=image.found.boxes_xyxy * scale)
    colors = {category.name: FOUND_COLOR for category in categories}
    return draw_detections(resized, found, categories, color_map=colors, outline_width=1)
