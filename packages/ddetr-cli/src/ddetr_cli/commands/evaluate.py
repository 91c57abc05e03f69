"""`ddetr evaluate`: the COCO scores of a checkpoint or of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ddetr_cli.commands.detector_file import checked_detector_file, is_onnx, open_onnx
from ddetr_cli.preflight import existing_sources
from ddetr_cli.progress import Progress
from ddetr_cli.run import Run, Subtask
from ddetr_cli.spec import Experiment

if TYPE_CHECKING:
    from ddetr_data.scoring import Scores


def check(experiment: Experiment) -> None:
    """Find a missing detector and missing data."""
    checked_detector_file(experiment.evaluate, "evaluate", experiment.encryption_key)
    existing_sources(experiment.dataset.test_data_sources, "dataset.test_data_sources")


def execute(experiment: Experiment, run: Run) -> Mapping[str, float]:
    """Score the detector and show the figures."""
    path = checked_detector_file(experiment.evaluate, "evaluate", experiment.encryption_key)
    if is_onnx(path):
        scores = _score_onnx(path, experiment, run)
    else:
        from ddetr_train.evaluate import evaluate

        scores = evaluate(
            path, experiment.dataset, experiment.evaluate, run.results_dir, observers=run.observers
        )
    run.console.scores(scores.overall, scores.per_class)
    run.console.say(f"scores: {run.results_dir / 'results.json'}")
    return scores.overall


def _score_onnx(path: Path, experiment: Experiment, run: Run) -> Scores:
    """Score an ONNX file with nothing but ONNX Runtime, and keep the same files as PyTorch does."""
    from ddetr_data.evaluation import evaluate_detector, write_results

    from ddetr_data.coco import load_sources

    detector = open_onnx(path, experiment.evaluate)
    dataset = experiment.dataset
    test_set = load_sources(dataset.test_data_sources, num_classes=None)
    scores, detections = evaluate_detector(
        detector,
        test_set,
        conf_threshold=experiment.evaluate.conf_threshold,
        on_progress=Progress(run.report, "images"),
        category_ids=dataset.eval_class_ids,
        batch_size=detector.batch_size,
    )
    write_results(run.results_dir, scores, detections, {"checkpoint": str(path)})
    return scores


EVALUATE = Subtask("evaluate", Experiment, lambda spec: spec.results_of("evaluate"), check, execute)
