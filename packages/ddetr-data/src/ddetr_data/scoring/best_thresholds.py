"""The score of each class from which its F1 is best, by the matches that AP comes from.

The rule: detections and objects are matched as COCO does it, at IoU 0.50: in each image the best
score chooses first. Matching is greedy, so leaving out low scores changes no match of a higher one,
and a threshold's precision, recall and F1 are those of a detector that has it. Candidates are the
scores themselves; of equal F1 the highest threshold is taken. It is then rounded down to as few
digits as keep the same detections. A class without objects, or without a right detection, has none.

K detections of a class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IOU = 0.5
_DIGITS = range(2, 9)  # behind the point; what float32 tells apart needs no more


@dataclass(frozen=True)
class BestThreshold:
    """The least score with the best F1 of one class; the four are NaN where there is none."""

    category_id: int
    threshold: float
    f1: float
    precision: float
    recall: float
    objects: int  # that can be found
    detections: int  # that count, of any score
    reason: str = ""  # why there is no threshold

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, None for NaN."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> BestThreshold:
        """Read what to_dict gave; keys beside its own are left out."""
        known: dict[str, Any] = {
            name: math.nan if content[name] is None else content[name]
            for name in cls.__dataclass_fields__
        }
        return cls(**known)


def best_threshold(
    category_id: int, of_images: Sequence[Mapping[str, Any] | None]
) -> BestThreshold:
    """Find it in pycocotools' rows of one class, matched at IoU 0.50 alone."""
    scores, hits = [np.zeros(0, np.float32)], [np.zeros(0, np.bool_)]
    objects = 0
    for each in filter(None, of_images):
        counts = ~np.asarray(each["dtIgnore"], np.bool_).reshape(-1)
        scores.append(np.asarray(each["dtScores"], np.float32)[counts])
        hits.append((np.asarray(each["dtMatches"]).reshape(-1) != 0)[counts])
        objects += int(np.count_nonzero(np.asarray(each["gtIgnore"]) == 0))
    return _best(category_id, np.concatenate(scores), np.concatenate(hits), objects)


def _best(
    category_id: int,
    scores: NDArray[np.float32],  # (K,), in any order
    hits: NDArray[np.bool_],  # (K,), whether it has an object
    objects: int,
) -> BestThreshold:
    if reason := _reason(len(scores), int(hits.sum()), objects):
        nan = math.nan
        return BestThreshold(category_id, nan, nan, nan, nan, objects, len(scores), reason)
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    # A threshold cannot divide equal scores: the last one of each counts.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    kept, right, distinct = last + 1, found[last], scores[order][last]
    f1 = 2 * right / (kept + objects)
    best = int(f1.argmax())  # the first of equal ones, which has the highest score
    below = distinct[best + 1] if best + 1 < len(distinct) else np.float32(0)
    return BestThreshold(
        category_id,
        _rounded_down(distinct[best], below),
        float(f1[best]),
        float(right[best] / kept[best]),
        float(right[best] / objects),
        objects,
        len(scores),
    )


def _reason(detections: int, hits: int, objects: int) -> str:
    if not objects:
        return "the data hold no object of it"
    if not detections:
        return "nothing of it was found"
    return "" if hits else f"none of {detections} detections is right"


def _rounded_down(score: np.float32, below: np.float32) -> float:
    """Give the shortest number above `below` that is not above the score, as float32 has them."""
    for digits in _DIGITS:
        floor = math.floor(float(score) * 10**digits) / 10**digits
        for rounded in (round(float(score), digits), floor):  # 0.9 is 0.89999998 as float32
            if below < np.float32(rounded) <= score:
                return rounded
    return float(score)
