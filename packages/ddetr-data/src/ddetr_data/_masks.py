"""The box around a COCO mask in run lengths.

A mask of H x W pixels is told by the lengths of its runs, outside and inside by turns, down the
first column and on with the next. pycocotools reads whole masks likewise; of a damaged one it makes
a box far outside the image, without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

_MOST_PIXELS = 2**53
_FIRST_LETTER = 48  # of the letters that stand for 6 bits each in a compressed mask
_VALUE_BITS, _SIGN_BIT, _MORE_BIT = 5, 0x10, 0x20


def box_of_mask(mask: Mapping[str, object]) -> list[float] | None:
    """Left, top, width and height; None where the mask is empty or no mask."""
    size_hw, counts = mask.get("size"), mask.get("counts")
    if not (_are_lengths(size_hw) and len(size_hw) == 2 and 0 < size_hw[0] < _MOST_PIXELS):
        return None
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if not _are_lengths(runs) or sum(runs) > min(size_hw[0] * size_hw[1], _MOST_PIXELS):
        return None
    return _box_of_runs(np.array(runs, np.int64), size_hw[0])


def _are_lengths(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(each) is int and each >= 0 for each in values)


def _box_of_runs(runs: NDArray[np.int64], height: int) -> list[float] | None:
    ends = np.cumsum(runs)
    first, last = ends[0:-1:2], ends[1::2] - 1  # pixels of the runs inside
    present = last >= first
    if not present.any():
        return None
    first, last = first[present], last[present]
    left, right = first // height, last // height
    is_one_column = left == right
    top = np.where(is_one_column, first % height, 0).min()
    bottom = np.where(is_one_column, last % height, height - 1).max()
    sides = (left.min(), top, right.max() - left.min() + 1, bottom - top + 1)
    return [float(side) for side in sides]


def _decompressed(text: str) -> list[int] | None:
    """Run lengths from COCO's letters: 5 bits each, from the third on less the one before last."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - _FIRST_LETTER
        if not 0 <= bits < 2 * _MORE_BIT or shift > 60:
            return None
        value |= (bits & (_MORE_BIT - 1)) << shift
        shift += _VALUE_BITS
        if bits & _MORE_BIT:
            continue
        if bits & _SIGN_BIT:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
