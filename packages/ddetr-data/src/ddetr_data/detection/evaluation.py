"""Scoring any detector on a labelled set, and writing down what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddetr_data.coco import DetectionSet, ResultRow
from ddetr_data.detection.rank_slice import ALONE, Share
from ddetr_data.faults import DataError
from ddetr_data.files import write_whole
from ddetr_data.scoring import CocoScorer, Scores
from ddetr_data.types import Detections, Detector

Progress = Callable[[int, int], None]  # images done, images in all


def evaluate_detector(
    detector: Detector,
    detection_set: DetectionSet,
    *,
    conf_threshold: float = 0.0,
    on_progress: Progress | None = None,
    category_ids: Sequence[int] | None = None,
    batch_size: int | None = None,
    share: Share = ALONE,
) -> tuple[Scores, list[ResultRow]]:
    """Detect in every image and score.

    Args:
        detector: gives labels that are the set's category ids.
        detection_set: the ground truth.
        conf_threshold: detections below it do not count.
        on_progress: called after every batch.
        category_ids: classes to score, absent: all.
        batch_size: images a call, absent: the detector's own.
        share: the images of this process; the scores are those of all of them, in each.

    Returns:
        The scores, and all detections in COCO's results format.

    Raises:
        FileNotFoundError, DataError: an image is missing or damaged.
    """
    scorer = CocoScorer(detection_set, category_ids=category_ids)
    step = batch_size or detector.batch_size
    places = share.of(len(detection_set.images), step)
    kept: list[tuple[int, Detections]] = []
    for start in places[::step]:
        records = detection_set.images[start : min(start + step, places.stop)]
        found = detector.predict([record.path for record in records])
        if len(found) != len(records):
            raise DataError(f"a detector must answer for {len(records)} images, got {len(found)}")
        for record, detections in zip(records, found, strict=True):
            kept.append((record.id, detections.above(conf_threshold)))
        if on_progress is not None:
            on_progress(len(kept), len(places))
    for part in share.gather(kept):
        for image_id, detections in part:
            scorer.add(image_id, detections)
    return scorer.score(), scorer.results()


def write_results(
    results_dir: str | os.PathLike[str],
    scores: Scores,
    coco_results: Sequence[ResultRow],
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write results.json (scores and extra) and detections.json; gives the first one's path."""
    folder = Path(results_dir)
    results = {**(extra or {}), **scores.to_dict()}
    write_whole(folder / "detections.json", json.dumps(list(coco_results), indent=1))
    write_whole(folder / "results.json", json.dumps(results, indent=1))
    return folder / "results.json"
