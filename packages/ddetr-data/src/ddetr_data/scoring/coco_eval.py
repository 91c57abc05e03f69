"""The judges of COCO scores, kept quiet and fed only what they understand.

T = 10 IoU thresholds from 0.50, R = 101 recalls from 0, K classes, A = 4 area ranges (all first),
M = 3 limits of detections an image (100 last).
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import ResultRow
from ddetr_data.scoring._coco_eval_precision import EXTRA_RECALLS, precision_like_pycocotools

Backend: TypeAlias = Literal["pycocotools", "faster-coco-eval"]

NUM_FIGURES = 12


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a judge found; -1 stands for nothing to find."""

    figures: tuple[float, ...]  # the twelve, NaN for nothing to find
    precision: NDArray[np.float64]  # (T, R, K, A, M)
    scores: NDArray[np.float64]  # (T, R, K, A, M), of the detection that reaches the recall


def judge(
    ground_truth: Mapping[str, Any],
    results: Sequence[ResultRow],
    category_ids: Sequence[int],
    *,
    image_ids: Sequence[int] | None = None,
    backend: Backend = "pycocotools",
) -> Verdict:
    """Compare results with a COCO ground truth whose annotation ids count from 1.

    Raises:
        ValueError: faster-coco-eval is asked for and not installed.
    """
    coco_class, judge_class = _classes(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(coco_class, ground_truth, ground_truth["annotations"])
        found = _index(coco_class, ground_truth, _numbered(results))
        run = judge_class(truth, found, "bbox")
        run.params.catIds = list(category_ids)
        if image_ids is not None:
            run.params.imgIds = list(image_ids)
        if backend == "faster-coco-eval":
            _judge_fast(run, ground_truth["annotations"])
        else:
            run.evaluate()
            run.accumulate()
        run.summarize()
    figures = [math.nan if figure < 0 else float(figure) for figure in run.stats[:NUM_FIGURES]]
    shape = (10, 101, len(category_ids), 4, 3)
    precision, scores = (np.asarray(run.eval[name]) for name in ("precision", "scores"))
    return Verdict(tuple(figures), precision.reshape(shape), scores.reshape(shape))


def _judge_fast(run: Any, annotations: Sequence[Mapping[str, Any]]) -> None:
    """Evaluate and accumulate with the fast judge, equal to pycocotools to the last bit."""
    own_recalls = run.params.recThrs
    run.params.recThrs = np.concatenate([own_recalls, EXTRA_RECALLS])
    run.evaluate()
    run.accumulate()
    run.params.recThrs = own_recalls
    precision, scores = (np.asarray(run.eval[name]) for name in ("precision", "scores"))
    counts = _count_objects(run.params, annotations)
    run.eval["precision"] = precision_like_pycocotools(precision, counts)
    run.eval["scores"] = scores[:, : len(own_recalls)]


def _count_objects(params: Any, annotations: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Count the objects that can be found, (K, A): those of the images judged, without crowds."""
    images, places = set(params.imgIds), {id: place for place, id in enumerate(params.catIds)}
    judged = [
        row
        for row in annotations
        if not row["iscrowd"] and row["image_id"] in images and row["category_id"] in places
    ]
    labels = np.array([places[row["category_id"]] for row in judged], np.int64)
    area = np.array([row["area"] for row in judged], np.float64)
    inside = [(area >= smallest) & (area <= largest) for smallest, largest in params.areaRng]
    counts = [np.bincount(labels[mask], minlength=len(places)) for mask in inside]
    return np.stack(counts, axis=1)


def _classes(backend: Backend) -> tuple[Any, Any]:
    if backend == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    try:
        from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(
            "the back-end faster-coco-eval is not installed, install ddetr-data[fast-scoring]"
        ) from error
    return COCO, COCOeval_faster


def _index(coco_class: Any, ground_truth: Mapping[str, Any], rows: Sequence[Any]) -> Any:
    """Build an index over rows, also over none, which a judge's own loader refuses."""
    coco = coco_class()
    images, categories = ground_truth["images"], ground_truth["categories"]
    coco.dataset = {"images": images, "categories": categories, "annotations": list(rows)}
    coco.createIndex()
    return coco


def _numbered(results: Sequence[ResultRow]) -> list[dict[str, Any]]:
    return [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(results, start=1)
    ]
