"""Small pictures inside the page: what should have been found, and what was."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from ddetr_cli.report.mistakes import BadImage
    from ddetr_data import Category

OBJECT_COLOR = "#1a9850"
FOUND_COLOR = "#d73027"
_SIDE = 360  # pixels of the longer one; a small picture is enlarged, so that words fit beside it
_LARGEST_ENLARGEMENT = 4.0
_JPEG_QUALITY = 80


def thumbnail(image: BadImage, categories: Sequence[Category]) -> str:
    """Draw objects and detections on the image, as a data: address of a JPEG.

    Raises:
        FileNotFoundError, DataError: the image is not there any more, or cannot be read.
    """
    from ddetr_data.images import open_image

    picture = open_image(image.record.path)
    scale = min(_LARGEST_ENLARGEMENT, _SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    drawn = _draw(picture.resize(size), image, categories, scale)
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _draw(
    picture: Image.Image, image: BadImage, categories: Sequence[Category], scale: float
) -> Image.Image:
    from PIL import ImageDraw, ImageFont

    names = {category.id: category.name for category in categories}
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=11)
    for left, top, width, height in (image.record.boxes_xywh * scale).tolist():
        pen.rectangle((left, top, left + width, top + height), outline=OBJECT_COLOR, width=2)
    for row, box in enumerate((image.found.boxes_xyxy * scale).tolist()):
        left, top, right, bottom = box
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=FOUND_COLOR)
        name = names.get(int(image.found.labels[row]), str(int(image.found.labels[row])))
        text = f"{name} {float(image.found.scores[row]):.2f}"
        room = picture.width - pen.textlength(text, font) - 2
        pen.text(
            (max(0, min(left + 2, room)), top + 1),
            text,
            fill=FOUND_COLOR,
            font=font,
            stroke_width=1,
            stroke_fill="white",
        )
    return picture
