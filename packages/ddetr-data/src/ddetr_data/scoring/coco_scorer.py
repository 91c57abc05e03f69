"""COCO scores of a detection set: overall, by class and by source, with their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet, ResultRow, detections_to_coco, read_results
from ddetr_data.config import DEFAULT_MAX_DETECTIONS, Judge
from ddetr_data.scoring.best_thresholds import IOU, BestThreshold, best_threshold
from ddetr_data.scoring.coco_eval import Verdict, choose_judge, match_images, mean_of_valid
from ddetr_data.scoring.coco_eval import judge as judge_results
from ddetr_data.scoring.curves import PrecisionRecall, precision_recall
from ddetr_data.types import Category, Detections


def metric_names(max_detections: int) -> tuple[str, ...]:
    """Name the twelve figures in COCO's order; with a limit below 10 some have the same name."""
    limits = (min(limit, max_detections) for limit in (1, 10, max_detections))
    recalls = (f"AR{limit}" for limit in limits)
    return ("AP", "AP50", "AP75", "APs", "APm", "APl", *recalls, "ARs", "ARm", "ARl")


METRICS = metric_names(DEFAULT_MAX_DETECTIONS)


@dataclass(frozen=True)
class Scores:
    """The twelve COCO figures, 0 to 1; NaN where there is nothing to find."""

    overall: dict[str, float]  # by metric_names, METRICS if not said otherwise
    per_class: dict[str, dict[str, float]]  # class name -> AP, AP50

    def to_dict(self) -> dict[str, Any]:
        """Give both for JSON, with None for NaN."""
        return {
            "overall": _without_nan(self.overall),
            "per_class": {name: _without_nan(figures) for name, figures in self.per_class.items()},
        }


class CocoScorer:
    """Collects the detections of images and compares them with a detection set.

    Args:
        detection_set: the ground truth; its crowds are regions in which nothing counts.
        category_ids: classes to score, absent: all.
        judge: pycocotools, faster (faster-coco-eval, the extra [fast-scoring]), or auto: the fast
            one where it is installed. Their figures are equal to the last bit.
        max_detections: that count, of an image and class, best scores first.

    Raises:
        ValueError: a category id is not in the set, or the judge is not installed.
    """

    def __init__(
        self,
        detection_set: DetectionSet,
        *,
        category_ids: Sequence[int] | None = None,
        judge: Judge = "auto",
        max_detections: int = DEFAULT_MAX_DETECTIONS,
    ) -> None:
        self._by = choose_judge(judge)
        self._max_detections = max_detections
        known = {category.id for category in detection_set.categories}
        unknown = sorted(set(category_ids or ()) - known)
        if unknown:
            raise ValueError(f"category ids must be in the data, {unknown} are not")
        chosen = known if category_ids is None else set(category_ids)
        self.categories = tuple(c for c in detection_set.categories if c.id in chosen)
        self._ground_truth = detection_set.to_coco()
        self._image_ids = {image["id"] for image in self._ground_truth["images"]}
        self._ids_of_source: dict[int, list[int]] = {}
        for record in detection_set.images:
            self._ids_of_source.setdefault(record.source, []).append(record.id)
        self._rows: dict[int, list[ResultRow]] = {}

    def add(self, image_id: int, detections: Detections) -> None:
        """Take the detections of one image; those of an image that is added again replace them.

        Raises:
            ValueError: the image is not in the set.
        """
        self._add_rows(image_id, detections_to_coco(image_id, detections))

    def add_results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows in COCO's results format, as they are; ids may be written as texts.

        Raises:
            ValueError: a row has no usable id, box or score, or its image is not in the set.
        """
        for image_id, found in read_results(rows).items():
            self._add_rows(image_id, found)

    def results(self) -> list[ResultRow]:
        """Give all detections in COCO's results format, images in order of their ids."""
        return [row for image_id in sorted(self._rows) for row in self._rows[image_id]]

    def score(self) -> Scores:
        """Score everything added so far; images without detections count as missed."""
        return self._scores(self._judge())

    def score_by_source(self) -> dict[int, Scores]:
        """Score the images of each data source on their own, by the source's number."""
        return {
            source: self._scores(self._judge(image_ids))
            for source, image_ids in sorted(self._ids_of_source.items())
        }

    def curves(self) -> dict[str, PrecisionRecall]:
        """Precision over recall of each class at IoU 0.50."""
        verdict = self._judge()
        return {
            name: precision_recall(verdict, index)
            for index, name in enumerate(unique_names(self.categories))
        }

    def thresholds(self) -> dict[str, BestThreshold]:
        """Give the score of each class from which its F1 is best at IoU 0.50.

        Whoever judges: the matches are pycocotools', whose figures all judges give.
        """
        ids = sorted(category.id for category in self.categories)
        matched = match_images(
            self._ground_truth,
            self.results(),
            ids,
            max_detections=self._max_detections,
            iou=IOU,
        )
        found = dict(zip(ids, map(best_threshold, ids, matched), strict=True))
        names = unique_names(self.categories)
        return {
            name: found[category.id] for name, category in zip(names, self.categories, strict=True)
        }

    def _add_rows(self, image_id: int, rows: list[ResultRow]) -> None:
        if image_id not in self._image_ids:
            raise ValueError(f"image id {image_id} is not in the ground truth")
        self._rows[image_id] = rows

    def _judge(self, image_ids: Sequence[int] | None = None) -> Verdict:
        return judge_results(
            self._ground_truth,
            self.results(),
            [category.id for category in self.categories],
            image_ids=image_ids,
            by=self._by,
            max_detections=self._max_detections,
        )

    def _scores(self, verdict: Verdict) -> Scores:
        return Scores(
            overall=dict(zip(metric_names(self._max_detections), verdict.figures, strict=True)),
            per_class={
                name: _class_scores(verdict.precision[:, :, index, 0, -1])
                for index, name in enumerate(unique_names(self.categories))
            },
        )


def unique_names(categories: Sequence[Category]) -> list[str]:
    """Name every category; where two have one name, the id is added to both."""
    names = [category.name for category in categories]
    return told_apart(names, [f"(id {category.id})" for category in categories])


def told_apart(names: Sequence[str], additions: Sequence[str]) -> list[str]:
    """Put its addition behind each name that stands more than once."""
    pairs = zip(names, additions, strict=True)
    return [name if names.count(name) == 1 else f"{name} {more}" for name, more in pairs]


def _class_scores(precision: NDArray[np.float64]) -> dict[str, float]:
    """Average one class's (IoU, recall) precisions; the first IoU is 0.50."""
    return {"AP": mean_of_valid(precision), "AP50": mean_of_valid(precision[0])}


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(figure) else figure for name, figure in figures.items()}
