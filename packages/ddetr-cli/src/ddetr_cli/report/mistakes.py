"""A detector's mistakes: curves, confusions, and the images with the most of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ddetr_data import DEFAULT_MAX_DETECTIONS, Detections, ImageRecord, Judge
from ddetr_data.coco import DetectionSet, detections_from_coco
from ddetr_data.scoring import (
    CocoScorer,
    ConfusionTable,
    PrecisionRecall,
    confusion_table,
)

_NUM_WORST = 9
_NO_THRESHOLD = 0.5  # for a class whose best score is unknown, as nothing of it was found


@dataclass(frozen=True, eq=False)
class BadImage:
    """An image with what was found in it, and how much of that is wrong."""

    record: ImageRecord
    found: Detections  # above its class's threshold
    missed: int  # objects without a detection
    invented: int  # detections without an object
    confused: int  # objects that were taken for another class

    @property
    def mistakes(self) -> int:
        """All three together."""
        return self.missed + self.invented + self.confused


@dataclass(frozen=True, eq=False)
class Mistakes:
    """What a report shows beyond the scores."""

    curves: dict[str, PrecisionRecall]  # by class name
    confusion: ConfusionTable
    worst: list[BadImage]  # most mistakes first


def read_detections(path: Path) -> dict[int, Detections]:
    """Read detections.json of an evaluation, by image id."""
    return detections_from_coco(json.loads(path.read_text("utf-8")))


def find_mistakes(
    detection_set: DetectionSet,
    detections: Mapping[int, Detections],
    category_ids: Sequence[int] | None = None,
    judge: Judge = "auto",
    max_detections: int = DEFAULT_MAX_DETECTIONS,
) -> Mistakes:
    """Count mistakes among the detections above the score at which their class's F1 is best.

    Args:
        detection_set: the ground truth.
        detections: by image id; an image without any is one in which all is missed.
        category_ids: classes that count, absent: all.
        judge: who computes the curves.
        max_detections: that count, of an image and class.
    """
    scorer = CocoScorer(
        detection_set, category_ids=category_ids, judge=judge, max_detections=max_detections
    )
    for image_id, found in detections.items():
        scorer.add(image_id, found)
    curves = scorer.curves()
    thresholds = {
        category.id: _threshold(curve)
        for category, curve in zip(scorer.categories, curves.values(), strict=True)
    }
    of_scored = _only(detection_set, set(thresholds))
    sure = {image_id: _above(found, thresholds) for image_id, found in detections.items()}
    images = [_judge_image(of_scored, record, sure) for record in of_scored.images]
    ranked = sorted(images, key=lambda image: -image.mistakes)
    return Mistakes(
        curves,
        confusion_table(of_scored, sure, conf_threshold=0.0),
        [image for image in ranked[:_NUM_WORST] if image.mistakes],
    )


def _threshold(curve: PrecisionRecall) -> float:
    return _NO_THRESHOLD if math.isnan(curve.best_threshold) else curve.best_threshold


def _only(detection_set: DetectionSet, category_ids: set[int]) -> DetectionSet:
    """Leave out the objects of other classes."""
    categories = tuple(c for c in detection_set.categories if c.id in category_ids)
    if len(categories) == len(detection_set.categories):
        return detection_set
    images = [_with_objects_of(record, category_ids) for record in detection_set.images]
    return replace(detection_set, images=images, categories=categories)


def _with_objects_of(record: ImageRecord, category_ids: set[int]) -> ImageRecord:
    keep = np.isin(record.labels, sorted(category_ids))
    return replace(record, annotations=record.annotations.keep(keep))


def _above(found: Detections, thresholds: Mapping[int, float]) -> Detections:
    least = np.array([thresholds.get(int(label), math.inf) for label in found.labels])
    keep = found.scores >= least.astype(found.scores.dtype)
    return Detections(found.boxes_xyxy[keep], found.scores[keep], found.labels[keep])


def _judge_image(
    detection_set: DetectionSet, record: ImageRecord, sure: Mapping[int, Detections]
) -> BadImage:
    alone = replace(detection_set, images=[record])
    counts = confusion_table(alone, sure, conf_threshold=0.0).counts
    pairs = counts[:-1, :-1]
    return BadImage(
        record,
        sure.get(record.id, Detections.empty()),
        missed=int(counts[:-1, -1].sum()),
        invented=int(counts[-1, :-1].sum()),
        confused=int(pairs.sum() - pairs.trace()),
    )
