"""`ddetr evaluate`: the COCO scores of a checkpoint or of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping

from ddetr_cli.commands.detector_file import checked_detector_file, is_onnx
from ddetr_cli.preflight import existing_sources
from ddetr_cli.report.page import write_evaluation_report
from ddetr_cli.run import Run, Subtask
from ddetr_cli.spec import Experiment


def check(experiment: Experiment) -> None:
    """Find a missing detector and missing data."""
    checked_detector_file(experiment.evaluate, "evaluate")
    existing_sources(experiment.dataset.test_data_sources, "dataset.test_data_sources")


def execute(experiment: Experiment, run: Run) -> Mapping[str, float]:
    """Score the detector and show the figures."""
    config, dataset = experiment.evaluate, experiment.dataset
    path = checked_detector_file(config, "evaluate")
    if is_onnx(path):
        from ddetr_cli.commands.onnx_detector import score_onnx

        scores = score_onnx(path, dataset, config, run)
    else:
        from ddetr_train.evaluate import evaluate

        scores = evaluate(
            path,
            dataset,
            config,
            run.results_dir,
            observers=run.observers,
            encryption_key=experiment.passphrase,
        )
    run.console.scores(scores.overall, scores.per_class)
    run.console.say(f"scores: {run.results_dir / 'results.json'}")
    run.console.say(f"report: {write_evaluation_report(run.results_dir)}")
    return scores.overall


EVALUATE = Subtask("evaluate", Experiment, lambda spec: spec.results_of("evaluate"), check, execute)
