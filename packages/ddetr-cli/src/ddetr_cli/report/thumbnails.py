"""Small images inside the page, with boxes drawn on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ddetr_data import ImageLike
from ddetr_data.images import (
    USUAL_WHITE,
    DrawnBox,
    WhiteLevels,
    draw_boxes,
    jpeg_address,
    open_image,
)

# Apart for eyes that do not tell red from green.
RIGHT_COLOR = "#2b7bba"
WRONG_COLOR = "#d73027"
_SIDE = 360  # pixels of the longer one; a small image is enlarged, so that words fit beside it
_LARGEST_ENLARGEMENT = 4.0


def thumbnail(
    image: ImageLike,
    boxes: Iterable[DrawnBox],
    white: WhiteLevels = USUAL_WHITE,
    region_xyxy: tuple[float, float, float, float] | None = None,
) -> str:
    """Draw boxes on the image, as a data: address of a JPEG of at most 360 pixels a side.

    Args:
        image: its file, or itself.
        boxes: in its own pixels, upright; outlines and words are drawn in those of the small one.
        white: which value of more than 8 bits is white.
        region_xyxy: the part to show, in pixels of the image; None: all of it.

    Raises:
        FileNotFoundError, DataError: the image is not there any more, or cannot be read.
    """
    opened = open_image(image, white)
    left, top = 0, 0
    if region_xyxy is not None:
        left, top = (max(0, math.floor(side)) for side in region_xyxy[:2])
        right, bottom = map(math.ceil, region_xyxy[2:])
        opened = opened.crop((left, top, min(opened.width, right), min(opened.height, bottom)))
    scale = min(_LARGEST_ENLARGEMENT, _SIDE / max(opened.size))
    size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
    small = [replace(each, box_xyxy=_moved(each.box_xyxy, (left, top), scale)) for each in boxes]
    return jpeg_address(draw_boxes(opened.resize(size), small))


def _moved(box: Sequence[float], origin: tuple[int, int], scale: float) -> list[float]:
    return [(side - origin[index % 2]) * scale for index, side in enumerate(box)]
