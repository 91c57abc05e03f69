"""Draw detections on images: one colour a class, the same in every run."""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageColor, ImageDraw, ImageFont

from ddetr_data.categories import ClassNames
from ddetr_data.images._rgb import to_rgb
from ddetr_data.images.orientation import upright
from ddetr_data.types import Category, Detections

logger = logging.getLogger(__name__)

Color = tuple[int, int, int]  # red, green, blue, 0 to 255

_GOLDEN_RATIO = 0.618034  # of the colour circle: neighbours in the palette are far apart
_UNNAMED_COLOR: Color = (128, 128, 128)


@dataclass(frozen=True)
class DrawnBox:
    """A box of an image, and how it is drawn."""

    box_xyxy: Sequence[float]  # pixels of the upright image
    color: str | Color  # a name, "#rrggbb" or red, green and blue
    text: str = ""  # on a plate beside it
    outline_width: int = 3  # pixels


def palette(count: int) -> list[Color]:
    """The first `count` colours of an endless list; a colour does not depend on the count."""
    colors = []
    for index in range(count):
        hue = (0.02 + index * _GOLDEN_RATIO) % 1.0
        value = (1.0, 0.75, 0.9)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colors


def class_colors(
    categories: Sequence[Category], color_map: Mapping[str, str] | None = None
) -> dict[int, Color]:
    """The colour of each category id: from color_map by class name, else from the palette.

    Args:
        color_map: class name to colour, a name ("red") or "#rrggbb". Classes that the detector does
            not know are logged as a warning, since one map often serves several models.

    Raises:
        ValueError: not a colour; the text names class and value.
    """
    chosen = {name: _parse_color(name, value) for name, value in (color_map or {}).items()}
    unknown = sorted(chosen.keys() - {category.name for category in categories})
    if unknown:
        logger.warning("color_map names classes that the model does not have: %s", unknown)
    colors = zip(categories, palette(len(categories)), strict=True)
    return {category.id: chosen.get(category.name, color) for category, color in colors}


def draw_detections(
    image: Image.Image,
    detections: Detections,
    categories: Sequence[Category],
    *,
    color_map: Mapping[str, str] | None = None,
    outline_width: int = 3,
) -> Image.Image:
    """A copy of the image, upright and in RGB, with a box, class name and score for each detection.

    Outlines lie on the inside of the boxes' edges and the best score is drawn last, on top.

    Raises:
        ValueError: outline_width below 1, or a colour that is none.
    """
    if outline_width < 1:
        raise ValueError(f"outline_width must be at least 1, got {outline_width}")
    colors = class_colors(categories, color_map)
    names = ClassNames(categories)
    boxes = [
        DrawnBox(
            detections.boxes_xyxy[index].tolist(),
            colors.get(int(detections.labels[index]), _UNNAMED_COLOR),
            f"{names[int(detections.labels[index])]} {detections.scores[index]:.2f}",
            outline_width,
        )
        for index in detections.scores.argsort(kind="stable")
    ]
    return draw_boxes(image, boxes)


def draw_boxes(image: Image.Image, boxes: Iterable[DrawnBox]) -> Image.Image:
    """A copy of the image, upright and in RGB, with the boxes, the last one on top.

    Outlines lie on the inside of the boxes' edges.
    """
    drawn = to_rgb(upright(image))
    drawn = drawn.copy() if drawn is image else drawn
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(size=max(10, min(drawn.size) // 40))
    for each in boxes:
        red, green, blue, *_ = (
            ImageColor.getrgb(each.color) if isinstance(each.color, str) else each.color
        )
        color = (red, green, blue)
        box = _inside(each.box_xyxy, drawn.size)
        pen.rectangle(box, outline=color, width=each.outline_width)
        if each.text:
            _write(pen, each.text, box, color, font)
    return drawn


def _parse_color(name: str, value: str) -> Color:
    try:
        red, green, blue, *_ = ImageColor.getrgb(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"color_map: the colour of class {name!r} must be a colour name or #rrggbb, "
            f"got {value!r}"
        ) from error
    return red, green, blue


def _inside(box_xyxy: Sequence[float], image_size_wh: tuple[int, int]) -> tuple[int, ...]:
    """Whole pixels that a box's edges cover, right and bottom inclusive, inside the image."""
    left, top, right, bottom = box_xyxy
    width, height = image_size_wh
    x1, y1 = (min(max(round(v), 0), side - 1) for v, side in ((left, width), (top, height)))
    x2 = min(max(round(right) - 1, x1), width - 1)
    y2 = min(max(round(bottom) - 1, y1), height - 1)
    return x1, y1, x2, y2


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, ...],
    color: Color,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Put the text on a plate above the box, or inside it where the image ends."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = int(right - left) + 4, int(bottom - top) + 4
    y = box[1] - height if box[1] >= height else box[1]
    x = max(0, min(box[0], pen.im.size[0] - width))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = "black" if luminance > 140 else "white"
    pen.text((x + 2 - left, y + 2 - top), text, fill=ink, font=font)
