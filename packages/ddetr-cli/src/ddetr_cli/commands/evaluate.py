"""`ddetr evaluate`: the COCO scores of a checkpoint or of an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ddetr_cli.commands.detector_file import checked_detector_file, launched_ranks, open_detector
from ddetr_cli.running import Done, Run, Subtask, Work
from ddetr_cli.spec import Experiment, existing_sources

if TYPE_CHECKING:
    from ddetr_data.coco import DetectionSet
    from ddetr_data.detection import PreparedEvaluation
    from ddetr_data.scoring import Scores


def prepare(experiment: Experiment, run: Run) -> Work:
    """Find a missing detector, data or judge, then open the first two and compare their classes."""
    config, dataset = experiment.evaluate, experiment.dataset
    checked_detector_file(config, "evaluate", experiment.passphrase)
    existing_sources(dataset.test_data_sources, "dataset.test_data_sources")
    from ddetr_data.detection import prepare_evaluation
    from ddetr_data.scoring import choose_judge

    choose_judge(config.judge)  # before anything heavy is loaded
    detector = open_detector(config, "evaluate", experiment)
    prepared = prepare_evaluation(detector, dataset, config, observers=run.observers)
    return partial(_evaluate, prepared, experiment, run)


def _evaluate(prepared: PreparedEvaluation, experiment: Experiment, run: Run) -> Done:
    """Score the detector and show the figures."""
    with launched_ranks(experiment.evaluate, run) as ranks:
        scores = prepared.run(run.results_dir, ranks)
    if run.is_main_process:
        _show(scores, prepared.labelled, experiment, run)
    return Done(scores.overall, scores)


def _show(scores: Scores, labelled: DetectionSet, experiment: Experiment, run: Run) -> None:
    run.console.scores(scores.overall, scores.per_class)
    run.console.say(f"scores: {run.results_dir / 'results.json'}")
    from ddetr_cli.report import REPORT_NAME, write_evaluation_report

    (run.results_dir / REPORT_NAME).unlink(missing_ok=True)  # of other scores, if this one fails
    eval_class_ids = experiment.dataset.eval_class_ids
    report = write_evaluation_report(
        run.results_dir, labelled, eval_class_ids, experiment.evaluate.judge
    )
    run.console.say(f"report: {report}")


SUBTASK = Subtask("evaluate", Experiment, lambda spec: spec.results_of("evaluate"), prepare)
DEPLOYED = replace(SUBTASK, results_of=lambda spec: spec.results_of("evaluate", is_engine=True))
