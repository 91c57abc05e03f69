"""Detections that know their image and the names of their classes: to look at, and to hand on."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from PIL import Image

from ddetr_data.categories import ClassNames
from ddetr_data.coco import ResultRow, detections_to_coco
from ddetr_data.detection.detector import Detector, detect, white_of
from ddetr_data.faults import DataError
from ddetr_data.images import (
    USUAL_WHITE,
    WhiteLevels,
    draw_detections,
    jpeg_address,
    open_image,
)
from ddetr_data.named_thresholds import WrittenThreshold, class_thresholds
from ddetr_data.types import Category, Detections, ImageLike

_SHOWN_SIDE = 1000  # pixels of the longer side in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class ImageDetections(Detections):
    """What was found in one image, best first; a notebook shows the image with it.

    The image is kept as it was given, a path as a path: it is read again when it is drawn.
    """

    categories: tuple[Category, ...] = ()
    image: ImageLike | None = None
    white: WhiteLevels = USUAL_WHITE  # of an image of more than 8 bits a channel

    def name_of(self, label: int) -> str:
        """Give the name of a class; class_<id> where it has none."""
        return self._names[label]

    def to_coco(self, image_id: int) -> list[ResultRow]:
        """Give rows of COCO's results format, which pycocotools' loadRes reads."""
        return detections_to_coco(image_id, self)

    def draw(
        self,
        image: ImageLike | None = None,
        *,
        color_map: Mapping[str, str] | None = None,
        outline_width: int = 3,
    ) -> Image.Image:
        """Give the image, upright and in RGB, with a box, class and score for each detection.

        Args:
            image: To draw on instead of the one that they were found in, and of its size.
            color_map: Colours by class name, "red" or "#rrggbb".
            outline_width: In pixels.

        Raises:
            FileNotFoundError, DataError: the image is not there any more, or cannot be read.
            ValueError: there is no image, a colour is none, or outline_width is below 1.
        """
        shown = self.image if image is None else image
        if shown is None:
            raise DataError("these detections have no image, give one: draw(image)")
        return draw_detections(
            open_image(shown, self.white),
            self,
            self.categories,
            color_map=color_map,
            outline_width=outline_width,
        )

    def _repr_png_(self) -> bytes | None:
        """What consoles with pictures show; nothing where the image cannot be read any more."""
        drawn = self._drawn_small()
        if drawn is None:
            return None
        file = io.BytesIO()
        drawn.save(file, "PNG")
        return file.getvalue()

    def _repr_html_(self) -> str:
        """What a notebook shows: the image, and in words what was found."""
        drawn = self._drawn_small()
        shown = "" if drawn is None else f'<img src="{jpeg_address(drawn)}" alt=""><br>'
        return f"<div>{shown}{escape(repr(self))}</div>"

    def _drawn_small(self) -> Image.Image | None:
        try:
            drawn = self.draw()
        except (OSError, ValueError):
            return None
        drawn.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        return drawn

    @cached_property
    def _names(self) -> ClassNames:
        return ClassNames(self.categories)


def detect_in(
    detector: Detector, images: Sequence[ImageLike], threshold: WrittenThreshold = 0.0
) -> list[ImageDetections]:
    """Run a detector, and give what it finds with the images and the names of its classes.

    Args:
        detector: Any.
        images: As many as fit into memory, or paths.
        threshold: Detections of a lower score are left out; one number, or numbers by class, by
            name or id, with `default` for all others (0 if it is not given).

    Raises:
        ValueError: the threshold names a class that the detector does not have, or is none.
        FileNotFoundError, DataError, TypeError: an image is missing, damaged or none at all.
        DetectorError: as detect.
    """
    categories, white = tuple(detector.categories), white_of(detector)
    least = class_thresholds(threshold, categories, 0.0, "threshold")
    return [
        ImageDetections(each.boxes_xyxy, each.scores, each.labels, categories, image, white)
        for image, each in zip(
            images, (found.above(least) for found in detect(detector, images)), strict=True
        )
    ]
