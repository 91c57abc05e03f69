"""Any mode of Pillow's as 8-bit RGB; 16-bit colours too, of which Pillow keeps the upper byte."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from ddetr_data.images.white_levels import USUAL_WHITE, Numbers, WhiteLevels

WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_STRIP_PIXELS = 2**20  # that are converted at a time
# Pillow's way to unpack 16-bit colours -> the way that gives their lower bytes instead.
_LOWER = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "LB"[sys.byteorder == "little"]))
}
_GREY_WITH_ALPHA = "LA;16B"  # of a PNG; as "RGBA" its four bytes come one by one
_LOWER[_GREY_WITH_ALPHA] = "RGBA"


def unpacks_upper_bytes(image: Image.Image) -> bool:
    """Whether an image that is not decoded yet has 16-bit colours, half of which Pillow drops."""
    tiles = getattr(image, "tile", None) or ()
    return any(_unpacking(tile[3]) in _LOWER for tile in tiles)


def decode_lower_bytes(image: ImageFile) -> Image.Image:
    """Decode an image, of which unpacks_upper_bytes is true, to the bytes that Pillow drops."""
    ways = [_unpacking(tile[3]) for tile in image.tile]
    tiles: list[Any] = []
    for tile, way in zip(image.tile, ways, strict=True):
        arguments = tile[3] if isinstance(tile[3], tuple) else ()
        lower = (_LOWER[way], *arguments[1:]) if arguments else _LOWER[way]
        # A plain tuple in older versions of Pillow.
        has_names = hasattr(tile, "_replace")
        tiles.append(tile._replace(args=lower) if has_names else (*tile[:3], lower))
    image.tile = tiles
    image.load()
    if ways[0] != _GREY_WITH_ALPHA:
        return image
    return Image.merge("RGB", (image.getchannel(1),) * 3)


def to_rgb(
    image: Image.Image, white: WhiteLevels = USUAL_WHITE, lower: Image.Image | None = None
) -> Image.Image:
    """Bring any Pillow mode to 8-bit RGB; what is already RGB comes back as it is.

    Args:
        image: of any mode, with the upper bytes of 16-bit colours.
        white: which value of more than 8 bits is white.
        lower: the lower bytes of 16-bit colours, as decode_lower_bytes gives them.
    """
    if lower is not None:
        level = white.of("integer")
        return _by_strips(image, lambda box: _from_two_bytes(image, lower, box, level))
    if image.mode in WIDE_MODES:
        level = white.of(_numbers_of(image))
        return _by_strips(image, lambda box: _to_8_bit(_values(image.crop(box)), level))
    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        return _by_strips(image, lambda box: _on_white(image.crop(box)))
    return image.convert("RGB")


def largest_values(image: Image.Image, lower: Image.Image | None) -> WhiteLevels:
    """The largest value of a decoded image of more than 8 bits a channel; None of others."""
    if lower is None and image.mode not in WIDE_MODES:
        return WhiteLevels()
    if lower is None:
        parts = (_values(image.crop(box)) for box in _strips(image))
    else:
        parts = (_joined(image.crop(box), lower.crop(box)) for box in _strips(image))
    largest = max((float(part.max()) for part in parts), default=0.0)
    if _numbers_of(image) == "float":
        return WhiteLevels(floating=largest)
    return WhiteLevels(integer=largest)


def _unpacking(arguments: object) -> str:
    """The way to unpack pixels among a decoder's arguments; others than strings are no such way."""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _numbers_of(image: Image.Image) -> Numbers:
    return "float" if image.mode == "F" else "integer"


def _by_strips(
    image: Image.Image, convert: Callable[[tuple[int, int, int, int]], Image.Image]
) -> Image.Image:
    """Convert to RGB some rows at a time: that costs no more memory than the result."""
    rgb = Image.new("RGB", image.size)
    for box in _strips(image):
        rgb.paste(convert(box).convert("RGB"), box)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _on_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque


def _values(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bit(values: NDArray[np.float64], white: float) -> Image.Image:
    scaled = np.round(values * (255.0 / white)).clip(0.0, 255.0)
    return Image.fromarray(scaled.astype(np.uint8))


def _from_two_bytes(
    upper: Image.Image, lower: Image.Image, box: tuple[int, int, int, int], white: float
) -> Image.Image:
    strip = upper.crop(box)
    colours = _to_8_bit(_joined(strip, lower.crop(box)), white)
    if upper.mode != "RGBA":
        return colours
    colours.putalpha(strip.getchannel("A"))
    return _on_white(colours)


def _joined(upper: Image.Image, lower: Image.Image) -> NDArray[np.float64]:
    """The 16-bit colours (H, W, 3) of two images of bytes; grey with alpha is grey thrice."""
    high, low = np.asarray(upper, np.float64), np.asarray(lower, np.float64)
    return high[..., :3] * 256 + low[..., :3]
