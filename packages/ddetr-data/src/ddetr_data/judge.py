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

from ddetr_data.results import ResultRow

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
        run.evaluate()
        run.accumulate()
        run.summarize()
    figures = [math.nan if figure < 0 else float(figure) for figure in run.stats[:NUM_FIGURES]]
    shape = (10, 101, len(category_ids), 4, 3)
    precision, scores = (np.asarray(run.eval[name]) for name in ("precision", "scores"))
    return Verdict(tuple(figures), precision.reshape(shape), scores.reshape(shape))


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
