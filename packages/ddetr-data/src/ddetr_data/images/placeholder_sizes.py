"""Stated sizes that many images share, and that are the size of none of them in any frame.

I images of a set, N boxes of all images together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import BORDER_TOLERANCE, NEARLY_ALL
from ddetr_data.images.coordinate_frames import size_fault
from ddetr_data.images.orientation import ImageHeader

_CHANCE = 1e-3  # below it boxes of a larger frame do not all lie inside a smaller one by chance


def find_placeholders(
    stated_wh: NDArray[np.int32],  # (I, 2)
    headers: Mapping[int, ImageHeader],  # of images that are not of the size stated
    boxes_xywh: NDArray[np.float64],  # (N, 4), as the labels state them
    owners: NDArray[np.int64],  # (N,), each box's image
    refuted: Collection[int] = (),  # images whose stated size is known to be wrong
) -> set[int]:
    """Find images that seem to be resized copies, though the size stated of them is untrue.

    It is, where several images share it, and fewer than nine in ten of those with another size are
    copies of one scale; or where the boxes of the smaller copies all lie inside them, which those
    of a larger frame would hardly do.
    """
    copies: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    members: dict[tuple[tuple[int, int], tuple[int, int]], list[int]] = {}
    totals: Counter[tuple[int, int]] = Counter()
    for index, header in headers.items():
        stated = (int(stated_wh[index, 0]), int(stated_wh[index, 1]))
        fault = size_fault(stated, header)
        if fault == "turned_image":
            continue
        totals[stated] += 1
        if fault == "resized_image" and index not in refuted:
            copies.setdefault(stated, Counter())[header.size_wh] += 1
            members.setdefault((stated, header.size_wh), []).append(index)
    found: set[int] = set()
    for (stated, actual), images in members.items():
        is_usual = max(copies[stated].values()) >= NEARLY_ALL * totals[stated]
        if not is_usual or _all_fit(stated, actual, boxes_xywh[np.isin(owners, images)]):
            found.update(images)
    return found


def _all_fit(
    stated_wh: tuple[int, int], actual_wh: tuple[int, int], boxes_xywh: NDArray[np.float64]
) -> bool:
    """Whether boxes (N, 4) of a larger image all lie inside the smaller one, and are many."""
    fraction = math.prod(actual_wh) / math.prod(stated_wh)
    if fraction >= 1 or len(boxes_xywh) * math.log(fraction) > math.log(_CHANCE):
        return False
    stops = boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    return bool((stops <= np.array(actual_wh) + BORDER_TOLERANCE).all())
