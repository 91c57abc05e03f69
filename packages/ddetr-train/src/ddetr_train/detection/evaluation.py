"""Score a checkpoint on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ddetr_data import Category, DatasetConfig
from ddetr_data.detection import (
    EvaluateConfig,
    Observer,
    RunEvent,
    emit,
    evaluate_detector,
    write_results,
)
from ddetr_data.loading import open_sources
from ddetr_data.scoring import Scores, score_sources
from ddetr_train.detection.torch_detector import build_detector, report_progress
from ddetr_train.process import is_first_process, launched_share


def evaluate(
    checkpoint: Path,
    dataset: DatasetConfig,
    config: EvaluateConfig,
    results_dir: Path,
    *,
    observers: Sequence[Observer] = (),
    encryption_key: str | None = None,
) -> Scores:
    """Write results.json and detections.json for dataset.test_data_sources, and return the scores.

    With several sources results.json also has "per_source", by the sources' names. Processes that
    torchrun or srun has started share the images; the first one writes the files.

    Raises:
        FileNotFoundError: the checkpoint or the data are not there.
        ValueError: no test data, an unreadable checkpoint, or labels that it has no class for.
    """
    if not dataset.test_data_sources:
        raise ValueError("evaluate needs dataset.test_data_sources")
    observers = observers if is_first_process() else ()
    detector = build_detector(checkpoint, dataset, config, observers, encryption_key)
    labelled = open_sources(
        dataset.test_data_sources,
        num_classes=detector.model_config.num_classes,
        dataset_type=dataset.dataset_type,
    )
    _compare_names(detector.categories, labelled.categories, observers)
    count = len(labelled.images)
    emit(observers, RunEvent("started", f"evaluating {count} images", total_steps=count))
    with launched_share() as share:
        scores, coco_results = evaluate_detector(
            detector,
            labelled,
            conf_threshold=config.conf_threshold,
            on_progress=partial(report_progress, observers),
            category_ids=dataset.eval_class_ids,
            batch_size=detector.batch_size,
            share=share,
        )
    if not share.is_first:
        return scores
    extra: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "images": count,
        "conf_threshold": config.conf_threshold,
    }
    if len(dataset.test_data_sources) > 1:
        extra["per_source"] = score_sources(
            labelled,
            dataset.test_data_sources,
            coco_results,
            category_ids=dataset.eval_class_ids,
        )
    write_results(results_dir, scores, coco_results, extra)
    emit(observers, RunEvent("finished", f"scores in {results_dir}", metrics=scores.overall))
    return scores


def _compare_names(
    known: Sequence[Category], labelled: Sequence[Category], observers: Sequence[Observer]
) -> None:
    names = {category.id: category.name for category in known}
    other = [
        f"{category.id} is {category.name!r} in the data and {names.get(category.id)!r} in the "
        "checkpoint"
        for category in labelled
        if names and names.get(category.id) != category.name
    ]
    if other:
        emit(observers, RunEvent("notice", f"class names differ: {'; '.join(other)}"))
