"""Four training images as one: their objects are smaller, and in other company."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ddetr_data.config import AugmentationConfig
from ddetr_data.torch._cutting import cut_objects
from ddetr_data.types import Annotations

IMAGES = 4
_CROSSINGS = (0.3, 0.7)  # where the four meet, as fractions of width and height
_ENLARGEMENT = 2  # of the first image's sides, so that its pixels are kept


@dataclass(frozen=True)
class Mosaic:
    """How often images are joined, and how large the result is at most.

    The canvas has the first image's shape and twice its size. Each image is cut to its tile's
    shape, at a random position and as large as it can be, and resized to the tile; objects are cut
    as those of a random crop are.
    """

    probability: float
    most_short_side: int  # pixels of the canvas; views of it are not larger

    @classmethod
    def of(cls, augmentation: AugmentationConfig) -> Mosaic | None:
        """Take the spec's block; None where it asks for none."""
        if augmentation.mosaic == 0:
            return None
        return cls(augmentation.mosaic, _ENLARGEMENT * max(augmentation.scales))

    def is_drawn(self, rng: np.random.Generator) -> bool:
        """Draw whether an image becomes a part of a mosaic."""
        return bool(rng.random() < self.probability)

    def join(
        self, parts: Sequence[tuple[Image.Image, Annotations]], rng: np.random.Generator
    ) -> tuple[Image.Image, Annotations]:
        """Put four images, of which the first gives the shape, on one canvas."""
        first = parts[0][0]
        scale = min(_ENLARGEMENT, self.most_short_side / min(first.size))
        width, height = (max(2, round(side * scale)) for side in first.size)
        x, y = (
            min(max(round(side * rng.uniform(*_CROSSINGS)), 1), side - 1)
            for side in (width, height)
        )
        tiles = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
        canvas, placed = Image.new("RGB", (width, height)), []
        for (image, objects), tile in zip(parts, tiles, strict=True):
            shown, moved = _fitted(image, objects, tile, rng)
            canvas.paste(shown, tile[:2])
            placed.append(moved)
        return canvas, Annotations.join(placed)


def _fitted(
    image: Image.Image,
    objects: Annotations,
    tile: tuple[int, int, int, int],  # left, top, right, bottom
    rng: np.random.Generator,
) -> tuple[Image.Image, Annotations]:
    """Cut an image to the shape of a tile and bring it there, with its objects."""
    tile_wh = (tile[2] - tile[0], tile[3] - tile[1])
    scale = max(tile_wh[0] / image.width, tile_wh[1] / image.height)
    region_wh = (tile_wh[0] / scale, tile_wh[1] / scale)
    left, top = (
        rng.uniform(0, max(0.0, side - extent))
        for side, extent in zip(image.size, region_wh, strict=True)
    )
    right, bottom = min(left + region_wh[0], image.width), min(top + region_wh[1], image.height)
    shown = image.resize(tile_wh, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    cut = cut_objects(objects, (image.height, image.width), (left, top), region_wh)
    boxes_xywh = cut.objects.boxes_xywh * scale
    boxes_xywh[:, :2] += tile[:2]
    seen = cut.objects
    area = seen.area * scale**2
    return shown, Annotations(boxes_xywh, seen.labels, seen.is_crowd, area, seen.is_region)
