"""Average precision of resampled images: how far a difference of two detectors may be chance.

Matching looks at one image at a time, so it is done once; a resample only counts images anew. An
image that is drawn n times counts as n copies of it, side by side, and the average precision is
COCO's of that set: between copies precision rises while objects are found and falls after, so the
envelope at the recalls that count is the same as with one step of n.

I images, K classes, T = 10 IoU thresholds from 0.50, D detections of a class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet, read_results
from ddetr_data.config import DEFAULT_MAX_DETECTIONS
from ddetr_data.scoring.coco_eval import match_images, mean_of_valid
from ddetr_data.scoring.coco_scorer import unique_names

_RECALLS = np.linspace(0.0, 1.0, 101)
_OUTSIDE = (2.5, 97.5)  # percentiles: 95 % of the resamples lie between
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A difference, and between which values 95 % of the resamples have it; NaN for nothing."""

    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class _ClassMatches:
    """What was found of one class, best scores first."""

    image: NDArray[np.int64]  # (D,), index of the image
    found: tuple[NDArray[np.int64], ...]  # T times: indices of detections that have an object
    counted: NDArray[np.float64] | None  # (T, D), 0 for what is in a region to ignore; None: all 1
    objects: NDArray[np.int64]  # (I,), of each image

    def average_precision(self, counts: NDArray[np.int64]) -> float:
        """COCO's AP when each image (I,) is there so many times; NaN where no object is."""
        total = int(self.objects @ counts)
        if total == 0:
            return math.nan
        weights = counts[self.image].astype(np.float64)
        seen = None if self.counted is not None else np.cumsum(weights)
        precisions = []
        for index, rows in enumerate(self.found):
            before = np.cumsum(weights * self.counted[index]) if seen is None else seen  # type: ignore[index]
            precisions.append(_interpolated(np.cumsum(weights[rows]), before[rows], total))
        return float(np.mean(precisions))


class ImageMatches:
    """What a detector has found in each image of a set, for average precision of resamples."""

    def __init__(
        self,
        detection_set: DetectionSet,
        results: Sequence[Mapping[str, Any]],
        *,
        category_ids: Sequence[int] | None = None,
        max_detections: int = DEFAULT_MAX_DETECTIONS,
    ) -> None:
        """Match detections with objects, as pycocotools does.

        Args:
            detection_set: The ground truth.
            results: Rows in COCO's results format.
            category_ids: Classes that count, absent: all.
            max_detections: That count, of an image and class.

        Raises:
            DataError: a row has no usable id, box or score.
        """
        chosen = [
            each
            for each in sorted(detection_set.categories, key=lambda each: each.id)
            if category_ids is None or each.id in category_ids
        ]
        self.names = unique_names(chosen)
        rows = [row for found in read_results(results).values() for row in found]
        ids = [each.id for each in chosen]
        matched = match_images(detection_set.to_coco(), rows, ids, max_detections=max_detections)
        self.num_images = len(matched[0]) if matched else 0
        self._classes = [_class_matches(of_images) for of_images in matched]

    def average_precisions(self, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Give AP of each class (K,), NaN where there is no object.

        Args:
            counts: How often each image (I,), in the order of the ids, is there; None: once.
        """
        drawn = np.ones(self.num_images, np.int64) if counts is None else counts
        return np.array([each.average_precision(drawn) for each in self._classes])


def paired_intervals(
    first: ImageMatches,
    second: ImageMatches,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Interval, dict[str, Interval]]:
    """How much higher the second's AP is, of all classes and of each, with 95 % intervals.

    Both are scored on the same resamples of the images, so that what is hard for both cancels.

    Args:
        first: Of the same images and classes as the second.
        second: The other.
        resamples: How often as many images are drawn, with replacement.
        seed: Of the draws.
        on_progress: Called with resamples done and resamples in all.

    Raises:
        ValueError: they have other images or classes, or resamples is below 1.
    """
    if (first.num_images, first.names) != (second.num_images, second.names):
        raise ValueError("paired intervals need the same images and classes of both")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    random, count = np.random.default_rng(seed), first.num_images
    drawn = []
    for done in range(1, resamples + 1):
        counts = np.bincount(random.integers(0, count, count), minlength=count)
        drawn.append(_differences(first, second, counts))
        if on_progress is not None:
            on_progress(done, resamples)
    table = np.array(drawn)  # (resamples, 1 + K)
    stated = _differences(first, second, None)
    columns = [_interval(stated[index], table[:, index]) for index in range(len(stated))]
    return columns[0], dict(zip(first.names, columns[1:], strict=True))


def _differences(
    first: ImageMatches, second: ImageMatches, counts: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Of the mean over classes, then of each class: (1 + K,)."""
    one, other = (each.average_precisions(counts) for each in (first, second))
    return np.concatenate([[_mean(other) - _mean(one)], other - one])


def _mean(values: NDArray[np.float64]) -> float:
    return mean_of_valid(np.where(np.isnan(values), -1.0, values))


def _interval(difference: float, drawn: NDArray[np.float64]) -> Interval:
    kept = drawn[~np.isnan(drawn)]
    if not kept.size:
        return Interval(float(difference), math.nan, math.nan)
    low, high = np.percentile(kept, _OUTSIDE)
    return Interval(float(difference), float(low), float(high))


def _interpolated(
    hits: NDArray[np.float64],  # (at most D,), running number of found objects
    seen: NDArray[np.float64],  # likewise, of detections up to there
    total: int,  # objects
) -> float:
    """Mean over COCO's recalls of the best precision at that recall or a higher one."""
    precision = hits / (seen + np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / total, _RECALLS, side="left")
    reached = at < len(envelope)
    return float(envelope[at[reached]].sum() / len(_RECALLS))


def _class_matches(of_images: Sequence[Mapping[str, Any] | None]) -> _ClassMatches:
    """Join what was matched in each image; detections of equal scores keep their order."""
    objects = np.zeros(len(of_images), np.int64)
    images, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    hits, ignored = [np.zeros((10, 0), bool)], [np.zeros((10, 0), bool)]
    for index, each in enumerate(of_images):
        if each is None:
            continue
        objects[index] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
        images.append(np.full(len(each["dtScores"]), index))
        scores.append(np.asarray(each["dtScores"], np.float64))
        hits.append(np.asarray(each["dtMatches"]) != 0)
        ignored.append(np.asarray(each["dtIgnore"]) != 0)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    hit, ignore = (np.concatenate(parts, axis=1)[:, order] for parts in (hits, ignored))
    return _ClassMatches(
        np.concatenate(images)[order],
        tuple(np.flatnonzero(row) for row in hit & ~ignore),
        (~ignore).astype(np.float64) if ignore.any() else None,
        objects,
    )
