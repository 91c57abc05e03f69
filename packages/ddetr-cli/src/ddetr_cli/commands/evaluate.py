"""`ddetr evaluate`: the COCO scores of a checkpoint or of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ddetr_cli.commands.detector_file import (
    checked_detector_file,
    launched_ranks,
    open_detector,
)
from ddetr_cli.running import Run, Subtask, Work
from ddetr_cli.spec import Experiment, existing_sources

if TYPE_CHECKING:
    from ddetr_data.scoring import Scores


def prepare(experiment: Experiment, run: Run) -> Work:
    """Find a missing detector, missing data and a missing judge."""
    from ddetr_data.scoring import choose_judge

    checked_detector_file(experiment.evaluate, "evaluate", experiment.passphrase)
    existing_sources(experiment.dataset.test_data_sources, "dataset.test_data_sources")
    choose_judge(experiment.evaluate.judge)
    return partial(_execute, experiment, run)


def _execute(experiment: Experiment, run: Run) -> Mapping[str, float]:
    """Score the detector and show the figures."""
    from ddetr_data.detection import evaluate

    config, dataset = experiment.evaluate, experiment.dataset
    detector = open_detector(config, "evaluate", experiment)
    with launched_ranks() as ranks:
        scores = evaluate(
            detector, dataset, config, run.results_dir, observers=run.observers, ranks=ranks
        )
    if run.is_main_process:
        _show(scores, experiment, run)
    return scores.overall


def _show(scores: Scores, experiment: Experiment, run: Run) -> None:
    run.console.scores(scores.overall, scores.per_class)
    run.console.say(f"scores: {run.results_dir / 'results.json'}")
    from ddetr_cli.report import write_evaluation_report
    from ddetr_data.loading import open_sources

    dataset = experiment.dataset
    labelled = open_sources(
        dataset.test_data_sources, num_classes=None, dataset_type=dataset.dataset_type
    )
    report = write_evaluation_report(
        run.results_dir, labelled, dataset.eval_class_ids, experiment.evaluate.judge
    )
    run.console.say(f"report: {report}")


EVALUATE = Subtask("evaluate", Experiment, lambda spec: spec.results_of("evaluate"), prepare)
