"""`ddetr inference`: label files and annotated images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ddetr_cli.commands.detector_file import checked_detector_file, launched_ranks, open_detector
from ddetr_cli.running import Done, Run, Subtask, Work
from ddetr_cli.spec import Experiment, SpecError, existing_images, optional_file

if TYPE_CHECKING:
    from ddetr_data.detection import InferenceSummary, PreparedLabelling

_NAMES_SHOWN = 3  # the log has every one


def prepare(experiment: Experiment, run: Run) -> Work:
    """Find a missing detector, missing images and a missing class list, then open them."""
    config, dataset = experiment.inference, experiment.dataset
    checked_detector_file(config, "inference", experiment.passphrase)
    source = dataset.infer_data_sources
    if source is None:
        raise SpecError("dataset.infer_data_sources is not set; give its image_dir")
    existing_images(source.image_dir, "dataset.infer_data_sources.image_dir")
    optional_file(source.classmap, "dataset.infer_data_sources.classmap")
    from ddetr_data.detection import prepare_labelling

    detector = open_detector(config, "inference", experiment)
    prepared = prepare_labelling(detector, dataset, config, observers=run.observers)
    return partial(_label, prepared, experiment, run)


def _label(prepared: PreparedLabelling, experiment: Experiment, run: Run) -> Done:
    """Detect in every image and show how many objects of each class there are."""
    with launched_ranks(experiment.inference, run) as ranks:
        summary = prepared.run(run.results_dir, ranks)
    if run.is_main_process:
        _show(summary, run)
    return Done(summary.figures, summary)


def _show(summary: InferenceSummary, run: Run) -> None:
    rows = [(name, str(count)) for name, count in summary.per_class.items()]
    rows.append(("all", str(summary.detections)))
    run.console.table(summary.extent, ["class", "objects"], rows)
    for paths, what in (
        (summary.unreadable, "files left out because they do not decode"),
        (summary.unwritten, "results that could not be written"),
    ):
        if paths:
            names = ", ".join(str(path) for path in paths[:_NAMES_SHOWN])
            more = ", ..." if len(paths) > _NAMES_SHOWN else ""
            run.notice(f"{what}: {len(paths)} ({names}{more})")
    run.console.say(f"labels: {summary.labels_dir}")
    if summary.images:
        run.console.say(f"annotated images: {summary.images_dir}")
    if summary.videos_dir is not None:
        run.console.say(f"annotated videos: {summary.videos_dir}")


SUBTASK = Subtask("inference", Experiment, lambda spec: spec.results_of("inference"), prepare)
DEPLOYED = replace(SUBTASK, results_of=lambda spec: spec.results_of("inference", is_engine=True))
