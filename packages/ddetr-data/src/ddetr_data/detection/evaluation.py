"""Scoring any detector on labelled images, and writing down what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ddetr_data.coco import DetectionSet, ResultRow
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.detection._pipeline import batches_ahead
from ddetr_data.detection._scored_labels import open_scored
from ddetr_data.detection.config import EvaluateConfig
from ddetr_data.detection.detector import (
    Detector,
    detect,
    fill_in_white,
    prepare,
    setup_notices,
)
from ddetr_data.detection.events import Observer, Progress, RunEvent, emit
from ddetr_data.detection.limits import limit_notices
from ddetr_data.detection.rank_slice import ALONE, RankSlice
from ddetr_data.detection.spec_thresholds import threshold_for
from ddetr_data.files import write_all
from ddetr_data.parallel import WorkAhead
from ddetr_data.scoring import CocoScorer, Scores, choose_judge, score_sources
from ddetr_data.thresholds import Threshold
from ddetr_data.types import Detections, ImageLike, ImageRecord


def evaluate(
    detector: Detector,
    dataset: DatasetConfig,
    config: EvaluateConfig,
    results_dir: str | os.PathLike[str],
    *,
    observers: Sequence[Observer] = (),
    ranks: RankSlice = ALONE,
) -> Scores:
    """Write results.json and detections.json for dataset.test_data_sources, and give the scores.

    results.json also has "thresholds": of each class the score from which its F1 is best; with
    several sources also "per_source", by the sources' names. Processes that divide the images all
    get the scores; the first one reports and writes the files.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: no test data, labels that the detector has no class for or gives another name,
            too many dropped objects, a threshold of a class that is not there, or a judge that is
            not installed.
    """
    observers = observers if ranks.is_first else ()
    return prepare_evaluation(detector, dataset, config, observers=observers).run(
        results_dir, ranks
    )


def prepare_evaluation(
    detector: Detector,
    dataset: DatasetConfig,
    config: EvaluateConfig,
    *,
    observers: Sequence[Observer] = (),
) -> PreparedEvaluation:
    """Read the labels and compare them with the detector's classes; nothing is written.

    Raises:
        FileNotFoundError, ValueError: as evaluate.
    """
    sources = dataset.test_data_sources
    if not sources:
        raise ValueError("evaluate needs dataset.test_data_sources")
    choose_judge(config.judge)  # before the labels are read
    labelled, differences = open_scored(detector, sources, dataset)
    scorer = CocoScorer(
        labelled,
        category_ids=dataset.eval_class_ids,
        judge=config.judge,
        max_detections=config.max_detections,
    )
    threshold = threshold_for(config, detector.categories or labelled.categories)
    fill_in_white(detector, dataset)
    most = getattr(detector, "most_detections", None)  # of a class that does not inherit
    limits = limit_notices(labelled, config.max_detections, most)
    for text in (*setup_notices(detector, dataset), *differences, *limits):
        emit(observers, RunEvent("notice", text))
    return PreparedEvaluation(
        detector, labelled, scorer, sources, config, threshold, observers, dataset.workers
    )


@dataclass(frozen=True)
class PreparedEvaluation:
    """An evaluation whose inputs have been checked, before the first image is looked at."""

    detector: Detector
    labelled: DetectionSet
    scorer: CocoScorer
    sources: Sequence[DataSource]
    config: EvaluateConfig
    threshold: Threshold
    observers: Sequence[Observer]
    workers: int = 0  # threads that read images

    def run(self, results_dir: str | os.PathLike[str], ranks: RankSlice = ALONE) -> Scores:
        """Detect, score, and write the files that `evaluate` describes."""
        observers = self.observers if ranks.is_first else ()
        images = self.labelled.images
        count = len(images)
        emit(observers, RunEvent("started", f"evaluating {count} images", total_steps=count))
        add_detections(
            self.scorer,
            self.detector,
            images,
            self.threshold,
            on_progress=Progress(observers),
            ranks=ranks,
            workers=self.workers,
        )
        scores = self.scorer.score()
        if ranks.is_first:
            facts: dict[str, Any] = {"images": count}
            facts["conf_threshold"] = self.config.conf_threshold
            facts["max_detections"] = self.config.max_detections
            if self.config.detector_file is not None:
                facts["checkpoint"] = str(self.config.detector_file)
            if len(self.sources) > 1:
                facts["per_source"] = score_sources(self.scorer, self.sources)
            found = self.scorer.thresholds()
            facts["thresholds"] = {name: each.to_dict() for name, each in found.items()}
            write_results(results_dir, scores, self.scorer.results(), facts)
        emit(observers, RunEvent("finished", f"scores in {results_dir}", metrics=scores.overall))
        return scores


class TakesDetections(Protocol):
    """Whoever wants the detections of each image, a CocoScorer for instance."""

    def add(self, image_id: int, found: Detections, /) -> None:
        """Take what was found in an image."""
        ...


def add_detections(
    scorer: TakesDetections,
    detector: Detector,
    images: Sequence[ImageRecord],
    conf_threshold: Threshold = 0.0,
    *,
    on_progress: Progress | None = None,
    ranks: RankSlice = ALONE,
    workers: int = 0,
) -> None:
    """Detect in images and hand what is at least conf_threshold to a scorer of their set.

    Args:
        scorer: Gets the detections of all images, in every process.
        detector: Gives labels that are the set's category ids.
        images: Of the scorer's set.
        conf_threshold: Detections below it do not count.
        on_progress: Called after every batch.
        ranks: The images that this process looks at.
        workers: Threads that read the next images meanwhile, at most one a core.

    Raises:
        FileNotFoundError, DataError: an image is missing or damaged.
    """
    step = detector.batch_size
    mine = ranks.of(len(images), step)
    kept: list[tuple[int, Detections]] = []

    def read(start: int) -> tuple[Sequence[ImageRecord], Sequence[ImageLike]]:
        records = images[start : min(start + step, mine.stop)]
        return records, prepare(detector, [record.path for record in records])

    with WorkAhead(workers) as threads:
        for records, prepared in threads.map(read, mine[::step], batches_ahead(threads, step)):
            found = detect(detector, prepared)
            for record, detections in zip(records, found, strict=True):
                kept.append((record.id, detections.above(conf_threshold)))
            if on_progress is not None:
                on_progress(len(kept), len(mine))
    for part in ranks.gather(kept):
        for image_id, detections in part:
            scorer.add(image_id, detections)


def write_results(
    results_dir: str | os.PathLike[str],
    scores: Scores,
    coco_results: Sequence[ResultRow],
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write results.json (facts and scores) and detections.json; gives the first one's path."""
    path = Path(results_dir, "results.json")
    contents = {
        path.with_name("detections.json"): json.dumps(list(coco_results), indent=1),
        path: json.dumps({**(facts or {}), **scores.to_dict()}, indent=1),
    }
    write_all(contents)
    return path
