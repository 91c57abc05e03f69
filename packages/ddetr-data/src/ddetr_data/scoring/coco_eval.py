"""The judges of COCO scores, kept quiet and fed only what they understand.

pycocotools is the reference. faster-coco-eval differs in the last bit of one precision, which is
mended here: pycocotools divides hits by (detections + 2**-52), so that nothing is divided by 0. In
float64 that sum is the count itself from 2 on, but 1 + 2**-52 for a single detection: where the
best detection of a class hits and the next one fails, pycocotools' precision is 1 - 2**-52 and the
other's is 1. Whether a second hit follows is asked of the judge itself, by more recalls than
COCO's.

T = 10 IoU thresholds from 0.50, R = 101 recalls from 0, K classes, A = 4 area ranges (all first),
M = 3 limits of detections of an image and class, the one that decides last: 1, 10 and 100.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import product
from types import FunctionType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import ResultRow
from ddetr_data.config import DEFAULT_MAX_DETECTIONS, Judge
from ddetr_data.extras import InstallHint, check_installed

_FAST = "faster_coco_eval"
_IOU_50, _IOU_75 = 0, 5
_SIZES = (1, 2, 3)  # small, medium and large, behind all areas
_LARGEST_EXPONENT = 40  # up to 2**41 objects of one class
# Of n objects, 2 found reach exactly one of these powers of two that 1 found does not.
_EXTRA_RECALLS: NDArray[np.float64] = 2.0 ** -np.arange(-1.0, _LARGEST_EXPONENT + 1)
_ONE_OF_ONE = 1.0 / (1.0 + np.spacing(1.0))


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a judge found; -1 stands for nothing to find."""

    figures: tuple[float, ...]  # the twelve, in COCO's order; NaN for nothing to find
    precision: NDArray[np.float64]  # (T, R, K, A, M)
    scores: NDArray[np.float64]  # (T, R, K, A, M), of the detection that reaches the recall


def choose_judge(wanted: Judge) -> Literal["pycocotools", "faster"]:
    """Say who judges: auto is the fast one where it is installed.

    Raises:
        MissingExtraError: the fast one is asked for and not installed.
    """
    if wanted == "faster":
        check_installed(
            _FAST,
            "evaluate.judge is faster, but faster-coco-eval is not installed",
            InstallHint("fast-scoring"),
            ", or set it to auto or pycocotools",
        )
    return "pycocotools" if wanted == "pycocotools" or find_spec(_FAST) is None else "faster"


def judge(
    ground_truth: Mapping[str, Any],
    results: Sequence[ResultRow],
    category_ids: Sequence[int],
    *,
    image_ids: Sequence[int] | None = None,
    by: Judge = "auto",
    max_detections: int = DEFAULT_MAX_DETECTIONS,
) -> Verdict:
    """Compare results with a COCO ground truth whose annotation ids count from 1.

    Raises:
        ValueError: as choose_judge.
    """
    fast = choose_judge(by) == "faster"
    coco_class, judge_class = _fast_classes() if fast else _reference_classes()
    truth = _index(coco_class, ground_truth, ground_truth["annotations"])
    found = _index(coco_class, ground_truth, _numbered(results))
    run = judge_class(truth, found, "bbox")
    run.params.catIds = list(category_ids)
    if image_ids is not None:
        run.params.imgIds = list(image_ids)
    run.params.maxDets = [min(limit, max_detections) for limit in (1, 10, max_detections)]
    if fast:
        _judge_fast(run, ground_truth["annotations"])
    else:
        run.evaluate()
        run.accumulate()
    shape = (10, 101, len(category_ids), 4, 3)
    precision, scores = (
        np.asarray(run.eval[name]).reshape(shape) for name in ("precision", "scores")
    )
    recall = np.asarray(run.eval["recall"]).reshape(10, *shape[2:])
    return Verdict(_figures(precision, recall), precision, scores)


def match_images(
    ground_truth: Mapping[str, Any],
    results: Sequence[ResultRow],
    category_ids: Sequence[int],
    *,
    max_detections: int = DEFAULT_MAX_DETECTIONS,
    iou: float | None = None,
) -> list[list[dict[str, Any] | None]]:
    """Match detections with objects of all sizes; pycocotools' rows of each class and image.

    It is at COCO's ten IoU thresholds, or at the one that is given. Classes and images are in the
    order of their ids. None stands for an image that has neither an object nor a detection of the
    class.
    """
    coco_class, judge_class = _reference_classes()
    truth = _index(coco_class, ground_truth, ground_truth["annotations"])
    rivals, alone = _by_having_objects(results, ground_truth["annotations"])
    run = judge_class(truth, _index(coco_class, ground_truth, _numbered(rivals)), "bbox")
    run.params.catIds = list(category_ids)
    run.params.maxDets = [max_detections]
    if iou is not None:
        run.params.iouThrs = np.array([iou])
    run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
    run.evaluate()
    images = run.params.imgIds
    found = dict(zip(product(run.params.catIds, images), run.evalImgs, strict=True))
    for pair in alone.keys() & found.keys():
        found[pair] = _without_object(alone[pair], max_detections, len(run.params.iouThrs))
    rows = list(found.values())
    return [rows[at * len(images) :][: len(images)] for at in range(len(category_ids))]


def _by_having_objects(
    results: Sequence[ResultRow], annotations: Sequence[Mapping[str, Any]]
) -> tuple[list[ResultRow], dict[tuple[int, int], list[ResultRow]]]:
    """Part detections that may match from those of a class without an object in their image.

    Most are of the latter kind, which is given by class and image; matching them takes time.
    """
    objects = {(row["category_id"], row["image_id"]) for row in annotations}
    rivals: list[ResultRow] = []
    alone: dict[tuple[int, int], list[ResultRow]] = {}
    for row in results:
        pair = (row["category_id"], row["image_id"])
        (rivals if pair in objects else alone.setdefault(pair, [])).append(row)
    return rivals, alone


def _without_object(
    rows: Sequence[ResultRow], max_detections: int, num_ious: int
) -> dict[str, Any]:
    """Give what pycocotools would of an image and class without an object."""
    scores = np.sort([row["score"] for row in rows])[::-1][:max_detections]
    nothing = np.zeros((num_ious, len(scores)))
    return {"dtScores": scores, "dtMatches": nothing, "dtIgnore": nothing, "gtIgnore": []}


def _figures(
    precision: NDArray[np.float64],  # (T, R, K, A, M)
    recall: NDArray[np.float64],  # (T, K, A, M)
) -> tuple[float, ...]:
    """Average as pycocotools does, whose own summary knows no other limit than 100."""
    average = precision[..., -1]  # (T, R, K, A)
    parts = [average[..., 0], average[_IOU_50, ..., 0], average[_IOU_75, ..., 0]]
    parts += [average[..., size] for size in _SIZES]
    parts += [recall[:, :, 0, limit] for limit in range(recall.shape[-1])]
    parts += [recall[:, :, size, -1] for size in _SIZES]
    return tuple(mean_of_valid(part) for part in parts)


def mean_of_valid(values: NDArray[np.float64]) -> float:
    """Average what is not -1, which stands for nothing to find; NaN where nothing else is."""
    valid = values[values > -1]
    return float(np.mean(valid)) if valid.size else math.nan


def _judge_fast(run: Any, annotations: Sequence[Mapping[str, Any]]) -> None:
    """Evaluate and accumulate with the fast judge, equal to pycocotools to the last bit."""
    own_recalls = run.params.recThrs
    run.params.recThrs = np.concatenate([own_recalls, _EXTRA_RECALLS])
    run.evaluate()
    run.accumulate()
    run.params.recThrs = own_recalls
    precision, scores = (np.asarray(run.eval[name]) for name in ("precision", "scores"))
    counts = _count_objects(run.params, annotations)
    run.eval["precision"] = _like_pycocotools(precision, counts)
    run.eval["scores"] = scores[:, : len(own_recalls)]


def _count_objects(params: Any, annotations: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Count the objects that can be found, (K, A): those of the images judged, without crowds."""
    images = set(params.imgIds)
    index_of = {id: index for index, id in enumerate(params.catIds)}
    judged = [
        row
        for row in annotations
        if not row["iscrowd"] and row["image_id"] in images and row["category_id"] in index_of
    ]
    labels = np.array([index_of[row["category_id"]] for row in judged], np.int64)
    area = np.array([row["area"] for row in judged], np.float64)
    inside = [(area >= smallest) & (area <= largest) for smallest, largest in params.areaRng]
    counts = [np.bincount(labels[mask], minlength=len(index_of)) for mask in inside]
    return np.stack(counts, axis=1)


def _like_pycocotools(
    precision: NDArray[np.float64],  # (T, R + len(_EXTRA_RECALLS), K, A, M)
    num_objects: NDArray[np.int64],  # (K, A), that count: no crowds, of that range of areas
) -> NDArray[np.float64]:
    """Give (T, R, K, A, M), the precisions at COCO's own recalls as pycocotools has them."""
    num_recalls = precision.shape[1] - len(_EXTRA_RECALLS)
    own, extra = precision[:, :num_recalls], precision[:, num_recalls:]
    # 2**e < n <= 2**(e + 1), and frexp gives the exponent of 2**e <= n - 1 plus one.
    exponents = np.frexp(np.maximum(num_objects, 1) - 1.0)[1] - 1
    exponents = np.where(num_objects <= 1, -1, exponents)  # (K, A)
    second_hit = np.take_along_axis(extra, (exponents + 1)[None, None, :, :, None], axis=1)
    return np.where((own == 1.0) & (second_hit < 1.0), _ONE_OF_ONE, own)


@cache
def _reference_classes() -> tuple[Any, Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _quiet(COCO, "createIndex"), _quiet(COCOeval, "evaluate", "accumulate")


def _fast_classes() -> tuple[Any, Any]:
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    return COCO, COCOeval_faster


def _quiet(loud: type, *names: str) -> type:
    """A subclass whose methods of these names print nothing.

    They run with another `print`: to redirect standard output would silence all threads.
    """
    silent = {**vars(sys.modules[loud.__module__]), "print": lambda *_, **__: None}
    methods = (getattr(loud, name) for name in names)
    copies = {
        method.__name__: FunctionType(
            method.__code__, silent, method.__name__, method.__defaults__, method.__closure__
        )
        for method in methods
    }
    return type(loud.__name__, (loud,), copies)


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
