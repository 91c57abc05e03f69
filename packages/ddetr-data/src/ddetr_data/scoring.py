"""COCO scores with pycocotools as the judge, kept quiet and fed only what it understands."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet
from ddetr_data.results import ResultRow, detections_to_coco, read_results
from ddetr_data.types import Category, Detections

METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip

# pycocotools' `precision` is (IoU, recall, category, area, detections an image).
Precision = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The twelve COCO figures, 0 to 1; NaN where there is nothing to find."""

    overall: dict[str, float]  # by METRICS
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

    Raises:
        ValueError: a category id is not in the set.
    """

    def __init__(
        self, detection_set: DetectionSet, *, category_ids: Sequence[int] | None = None
    ) -> None:
        known = {category.id for category in detection_set.categories}
        unknown = sorted(set(category_ids or ()) - known)
        if unknown:
            raise ValueError(f"category ids must be in the data, {unknown} are not")
        chosen = known if category_ids is None else set(category_ids)
        self.categories = tuple(c for c in detection_set.categories if c.id in chosen)
        self._ground_truth = detection_set.to_coco()
        self._image_ids = {image["id"] for image in self._ground_truth["images"]}
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

    def _add_rows(self, image_id: int, rows: list[ResultRow]) -> None:
        if image_id not in self._image_ids:
            raise ValueError(f"image id {image_id} is not in the ground truth")
        self._rows[image_id] = rows

    def score(self) -> Scores:
        """Score everything added so far; images without detections count as missed."""
        precision, figures = _judge(self._ground_truth, self.results(), self.categories)
        return Scores(
            overall=dict(zip(METRICS, figures, strict=True)),
            per_class={
                name: _class_scores(precision[:, :, place, 0, -1])
                for place, name in enumerate(unique_names(self.categories))
            },
        )


def unique_names(categories: Sequence[Category]) -> list[str]:
    """Name every category; where two share a name, the id is added to both."""
    names = [category.name for category in categories]
    return [
        name if names.count(name) == 1 else f"{name} (id {category.id})"
        for name, category in zip(names, categories, strict=True)
    ]


def _judge(
    ground_truth: Mapping[str, Any], results: list[ResultRow], categories: Sequence[Category]
) -> tuple[Precision, list[float]]:
    """Run pycocotools; gives its precision table and the twelve figures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with _silence():
        truth = COCO()
        truth.dataset = dict(ground_truth)
        truth.createIndex()
        judge = COCOeval(truth, _load_results(COCO(), ground_truth, results), "bbox")
        judge.params.catIds = [category.id for category in categories]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    figures = [math.nan if figure < 0 else float(figure) for figure in judge.stats]
    return judge.eval["precision"], figures


def _load_results(coco: Any, ground_truth: Mapping[str, Any], results: list[ResultRow]) -> Any:
    """Do what COCO.loadRes does, also for no results at all."""
    rows = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(results, start=1)
    ]
    coco.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def _class_scores(precision: Precision) -> dict[str, float]:
    """Average one class's (IoU, recall) precisions; the first IoU is 0.50."""
    return {"AP": _mean_of_valid(precision), "AP50": _mean_of_valid(precision[0])}


def _mean_of_valid(values: Precision) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else math.nan


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(figure) else figure for name, figure in figures.items()}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
