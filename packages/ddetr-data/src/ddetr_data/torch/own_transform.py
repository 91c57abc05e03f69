"""A transform of one's own: what it is given, and what is taken from it.

N objects before it and K behind it, of an image of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddetr_data.faults import DataError
from ddetr_data.locations import AnyFile
from ddetr_data.types import Annotations

REGION_LABEL = -1  # of a region to ignore, which is no object of any class
_BORDER = 0.01  # pixels that a box may reach over the image by, of rounding

# From image (H, W, 3) uint8 RGB, boxes_xyxy (N, 4) float64 in pixels, labels (N,) int64 and the
# sample's random numbers to image, boxes_xyxy and labels, of which all may have other lengths.
OwnTransform: TypeAlias = Callable[
    [NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64], np.random.Generator],
    tuple[Any, Any, Any],
]


def function_name(function: Callable[..., Any]) -> str:
    """Name a callable as `module:function`; one that is no function by its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


@dataclass(frozen=True)
class CheckedTransform:
    """Calls a transform of one's own, and takes nothing from it that cannot be trained on."""

    function: OwnTransform
    class_ids: Collection[int]

    def __call__(
        self, image: Image.Image, objects: Annotations, rng: np.random.Generator, path: AnyFile
    ) -> tuple[Image.Image, Annotations]:
        """Give what it makes of an image; areas are those of the boxes from then on.

        Raises:
            DataError: it fails, or gives something else than it must; the text names it and the
                image's path.
        """
        labels = np.where(objects.is_region, REGION_LABEL, objects.labels)
        boxes_xyxy = objects.boxes_xywh.copy()
        boxes_xyxy[:, 2:] += boxes_xyxy[:, :2]
        size = np.array([image.width, image.height] * 2, np.float64)
        boxes_xyxy = boxes_xyxy.clip(0, size)
        name = function_name(self.function)
        try:
            given = self.function(np.array(image), boxes_xyxy, labels, rng)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"the transform {name} failed at {path} ({reason})") from error
        fault = _fault_of(given, self.class_ids)
        if fault is not None:
            raise DataError(f"the transform {name} gave for {path} {fault}")
        pixels, boxes, labels = given
        return Image.fromarray(np.ascontiguousarray(pixels)), _objects_of(boxes, labels)


def _fault_of(given: Any, class_ids: Collection[int]) -> str | None:
    """Say what is wrong with what a transform gave; None where nothing is."""
    if not isinstance(given, tuple) or len(given) != 3:
        return f"{_kind(given)}: it must give a tuple of image, boxes_xyxy and labels"
    image, boxes, labels = given
    is_image = isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype == np.uint8
    if not is_image or image.shape[2] != 3 or not image.size:
        return f"{_kind(image)} for the image: it must be an array (H, W, 3) of uint8"
    try:
        boxes, labels = np.asarray(boxes, np.float64), np.asarray(labels, np.float64)
    except (TypeError, ValueError) as error:
        return f"boxes or labels that are no numbers ({error})"
    if not (np.isfinite(labels) & (labels == np.floor(labels))).all():
        return "labels that are no whole numbers"
    if boxes.size and boxes.shape != (len(boxes), 4):
        return f"boxes of shape {boxes.shape}: they must be (K, 4)"
    if labels.ndim != 1 or len(labels) != len(boxes):
        return f"{len(boxes)} boxes and labels of shape {labels.shape}: there must be one for each"
    return _fault_of_values(boxes, labels, image.shape[1::-1], class_ids) if len(boxes) else None


def _fault_of_values(
    boxes: NDArray[np.float64],  # (K, 4)
    labels: NDArray[np.float64],  # (K,), whole
    size_wh: tuple[int, ...],
    class_ids: Collection[int],
) -> str | None:
    if not np.isfinite(boxes).all():
        return "a box that is not finite"
    start, stop = boxes[:, :2], boxes[:, 2:]
    outside = ((start < -_BORDER) | (stop > np.array(size_wh) + _BORDER) | (stop < start)).any(1)
    if outside.any():
        box = [round(value, 2) for value in boxes[outside][0].tolist()]
        width, height = size_wh
        return (
            f"the box {box}: corners must be left, top, right, bottom within {width} x {height} "
            "pixels"
        )
    strange = sorted(set(labels.tolist()) - set(class_ids) - {REGION_LABEL})
    return f"the label {strange[0]:.0f}, which is the id of no class" if strange else None


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    count = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{count}"


def _objects_of(boxes: Any, labels: Any) -> Annotations:
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    labels = np.asarray(labels).astype(np.int64)
    sides = corners[:, 2:] - corners[:, :2]
    is_region = labels == REGION_LABEL
    boxes_xywh = np.concatenate([corners[:, :2], sides], axis=1)
    return Annotations(boxes_xywh, labels, is_region, sides.prod(1), is_region)
