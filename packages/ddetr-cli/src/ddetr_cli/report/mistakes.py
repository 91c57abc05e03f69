"""A detector's mistakes: curves, confusions, and the images with the most of them.

N objects, K detections of one image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddetr_data import DEFAULT_MAX_DETECTIONS, ClassThresholds, Detections, ImageRecord, Judge
from ddetr_data.coco import DetectionSet, detections_from_coco
from ddetr_data.detection import InferenceConfig
from ddetr_data.scoring import (
    BestThreshold,
    CocoScorer,
    ConfusionTable,
    PrecisionRecall,
    confusion_table,
    match_detections,
)

NUM_WORST = 12
# For a class that has no best threshold, as nothing of it was found.
_NO_THRESHOLD: float = InferenceConfig.model_fields["conf_threshold"].default


@dataclass(frozen=True, eq=False)
class BadImage:
    """An image with what was found in it, and what of that is wrong."""

    record: ImageRecord
    found: Detections  # above its class's threshold
    is_right: NDArray[np.bool_]  # (K,), an object of that class is there, or a crowd
    is_found: NDArray[np.bool_]  # (N,), as what it is; false for crowds
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
    thresholds: Mapping[str, BestThreshold]  # likewise
    confusion: ConfusionTable
    worst: list[BadImage]  # most mistakes first, then the lowest id


def read_detections(path: Path) -> dict[int, Detections]:
    """Read detections.json of an evaluation, by image id."""
    return detections_from_coco(json.loads(path.read_text("utf-8")))


def find_mistakes(
    detection_set: DetectionSet,
    detections: Mapping[int, Detections],
    category_ids: Sequence[int] | None = None,
    judge: Judge = "auto",
    max_detections: int = DEFAULT_MAX_DETECTIONS,
    thresholds: Mapping[str, BestThreshold] | None = None,
) -> Mistakes:
    """Count mistakes among the detections from the score on at which their class's F1 is best.

    Args:
        detection_set: the ground truth.
        detections: by image id; an image without any is one in which all is missed.
        category_ids: classes that count, absent: all.
        judge: who computes the curves.
        max_detections: that count, of an image and class.
        thresholds: what the scorer of these detections gave; None: they are found here.
    """
    scorer = CocoScorer(
        detection_set, category_ids=category_ids, judge=judge, max_detections=max_detections
    )
    for image_id, found in detections.items():
        scorer.add(image_id, found)
    thresholds = scorer.thresholds() if thresholds is None else thresholds
    least = dict.fromkeys((category.id for category in scorer.categories), _NO_THRESHOLD)
    least |= {each.category_id: each.threshold for each in thresholds.values() if not each.reason}
    of_scored = _only(detection_set, set(least))
    cut = ClassThresholds(math.inf, least)
    sure = {image_id: found.above(cut) for image_id, found in detections.items()}
    nothing = Detections.empty()
    images = [_judge_image(record, sure.get(record.id, nothing)) for record in of_scored.images]
    ranked = sorted(images, key=lambda image: (-image.mistakes, image.record.id))
    return Mistakes(
        scorer.curves(),
        thresholds,
        confusion_table(of_scored, sure, conf_threshold=0.0),
        [image for image in ranked[:NUM_WORST] if image.mistakes],
    )


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


def _judge_image(record: ImageRecord, found: Detections) -> BadImage:
    partner = match_detections(record.annotations, found)
    has_object = partner >= 0
    in_crowd, agrees = np.zeros((2, len(found)), np.bool_)
    in_crowd[has_object] = record.is_crowd[partner[has_object]]
    agrees[has_object] = record.labels[partner[has_object]] == found.labels[has_object]
    is_found = np.zeros(len(record.labels), np.bool_)
    is_found[partner[agrees & ~in_crowd]] = True
    taken = np.isin(np.arange(len(record.labels)), partner)
    return BadImage(
        record,
        found,
        is_right=agrees | in_crowd,
        is_found=is_found,
        missed=int((~taken & ~record.is_crowd).sum()),
        invented=int((~has_object).sum()),
        confused=int((has_object & ~agrees & ~in_crowd).sum()),
    )
