"""Objects of an image in a rectangular region of it: the rule of crops and of mosaics.

N objects, K of them are seen in the region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import SMALLEST_SIDE
from ddetr_data.types import Annotations


@dataclass(frozen=True)
class Cut:
    """The K objects, in pixels of the image from the region's corner."""

    start: NDArray[np.float64]  # (K, 2), left and top
    stop: NDArray[np.float64]  # (K, 2), right and bottom
    objects: Annotations  # likewise; their areas are what the region shows of them


def cut_objects(
    objects: Annotations,
    image_hw: tuple[int, int],
    corner: tuple[float, float],  # left and top
    region_wh: tuple[float, float],
) -> Cut:
    """Clip boxes to a region; an object counts by what the region shows of it."""
    corners = objects.boxes_xywh.copy()
    corners[:, 2:] += corners[:, :2]
    # What reaches over the border was never visible: it must not count as cut off by the region.
    in_image = _within(corners, image_hw[::-1])
    full = in_image[:, 2:] - in_image[:, :2]
    seen_corners = _within(in_image - (*corner, *corner), region_wh)
    start, stop = seen_corners[:, :2], seen_corners[:, 2:]
    extent = stop - start
    keep = np.all(extent >= SMALLEST_SIDE, axis=1)
    seen_fraction = extent.prod(1) / np.maximum(full.prod(1), SMALLEST_SIDE**2)
    boxes_xywh = np.concatenate([start, extent], axis=1)
    seen = replace(objects, boxes_xywh=boxes_xywh, area=objects.area * seen_fraction)
    return Cut(start[keep], stop[keep], seen.keep(keep))


def _within(
    corners: NDArray[np.float64],  # (N, 4), left, top, right, bottom
    size_wh: tuple[float, float],
) -> NDArray[np.float64]:
    """Bring corners outside of a width and height to its border, (N, 4)."""
    inside: NDArray[np.float64] = np.minimum(np.maximum(corners, 0), (*size_wh, *size_wh))
    return inside
