"""Precision over recall of one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.scoring.coco_eval import Verdict

_IOU_50, _ALL_AREAS, _ALL_DETECTIONS = 0, 0, -1


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """COCO's curve of 101 recalls from 0 to 1; empty for a class that does not occur."""

    recall: NDArray[np.float64]  # (101,) or (0,)
    precision: NDArray[np.float64]  # likewise; 0 where the recall is not reached
    scores: NDArray[np.float64]  # likewise; the score that reaches the recall

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers for JSON."""
        return {
            "recall": self.recall.tolist(),
            "precision": self.precision.tolist(),
            "scores": self.scores.tolist(),
        }


def precision_recall(verdict: Verdict, class_index: int) -> PrecisionRecall:
    """Take the curve of one class, an index into the verdict's K classes, at IoU 0.50."""
    at = (_IOU_50, slice(None), class_index, _ALL_AREAS, _ALL_DETECTIONS)
    precision, scores = verdict.precision[at], verdict.scores[at]
    if (precision < 0).all():
        nothing = np.zeros(0)
        return PrecisionRecall(nothing, nothing, nothing)
    return PrecisionRecall(np.linspace(0, 1, len(precision)), precision, scores)
