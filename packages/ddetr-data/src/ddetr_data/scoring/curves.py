"""Precision over recall of one class, and the score at which the two balance best."""

from __future__ import annotations

import math
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
    best_f1: float  # NaN for a class that does not occur
    best_threshold: float  # the score at which F1 is best; NaN when nothing is found

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers for JSON, None for NaN."""
        return {
            "recall": self.recall.tolist(),
            "precision": self.precision.tolist(),
            "scores": self.scores.tolist(),
            "best_f1": None if math.isnan(self.best_f1) else self.best_f1,
            "best_threshold": None if math.isnan(self.best_threshold) else self.best_threshold,
        }


def precision_recall(verdict: Verdict, class_index: int) -> PrecisionRecall:
    """Take the curve of one class, an index into the verdict's K classes, at IoU 0.50."""
    at = (_IOU_50, slice(None), class_index, _ALL_AREAS, _ALL_DETECTIONS)
    precision, scores = verdict.precision[at], verdict.scores[at]
    if (precision < 0).all():
        nothing = np.zeros(0)
        return PrecisionRecall(nothing, nothing, nothing, math.nan, math.nan)
    recall = np.linspace(0, 1, len(precision))
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    threshold = float(scores[best]) if f1[best] > 0 else math.nan
    return PrecisionRecall(recall, precision, scores, float(f1[best]), threshold)
