"""`ddetr train`: from labelled images to checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ddetr_cli.allowed_code import load_function
from ddetr_cli.running import SPEC_FILE, Done, RecordedWork, Run, Subtask
from ddetr_cli.spec import Experiment, SpecError, existing_model, existing_sources, optional_file
from ddetr_cli.terminal import Interrupted, StatusFile, last_word
from ddetr_train.process import folder_locked

if TYPE_CHECKING:
    from ddetr_data.coco import DetectionSet
    from ddetr_data.torch import OwnTransform
    from ddetr_model import ModelConfig
    from ddetr_train import TrainConfig
    from ddetr_train.engine import PreparedTraining, TrainResult

_SCORE = "val_"
_LONGEST_SAVE_SECONDS = 24.0  # of a checkpoint that is being written when the run must end
# What is moved with the checkpoints of an earlier training that this one does not continue.
_RECORDS = (SPEC_FILE, StatusFile.NAME, "run.log", "run-*.log", "report.html")


def check(experiment: Experiment) -> None:
    """Find missing data and missing weights."""
    model, dataset, train = experiment.model, experiment.dataset, experiment.train
    existing_sources(dataset.train_data_sources, "dataset.train_data_sources")
    if dataset.val_data_sources:
        existing_sources(dataset.val_data_sources, "dataset.val_data_sources")
    optional_file(model.pretrained_backbone_path, "model.pretrained_backbone_path")
    resumed = train.resume_training_checkpoint_path
    optional_file(resumed, "train.resume_training_checkpoint_path")
    if train.pretrained_model_path is not None:
        existing_model(train.pretrained_model_path, "train.pretrained_model_path")


def prepare(
    experiment: Experiment,
    run: Run,
    find_transform: Callable[[], OwnTransform | None] = lambda: None,
) -> RecordedWork | Done:
    """Check data, options, weights and a checkpoint to continue from, memory and disk.

    Where the checkpoint has all epochs already, that is told and there is no work: the record
    keeps what the training ran with. Only a report that is missing is written then.

    Args:
        find_transform: gives a transform of one's own, which no spec can name.
    """
    check(experiment)
    transform = find_transform()
    from ddetr_cli.report import REPORT_NAME
    from ddetr_train.engine import prepare_training

    model = model_for_training(experiment)
    training = prepare_training(
        model,
        experiment.dataset.model_copy(update={"num_classes": model.num_classes}),
        experiment.train,
        run.results_dir,
        losses=experiment.model.losses(),
        observers=run.observers,
        encryption_key=experiment.passphrase,
        transform=transform,
    )
    if training.is_done and (run.results_dir / REPORT_NAME).is_file():
        result = training.run()
        return Done(result.metrics, result)
    return RecordedWork(
        partial(_train, training, experiment, run),
        _ran_with(experiment, training),
        partial(training.set_aside, _RECORDS),
    )


def _ran_with(experiment: Experiment, training: PreparedTraining) -> Experiment:
    """Give the spec that the training truly has, which may keep some of its checkpoint's."""
    file = training.architecture.pretrained_backbone_path
    model = experiment.model.model_copy(update={"pretrained_backbone_path": file})
    return experiment.model_copy(update={"train": training.config, "model": model})


def _train(training: PreparedTraining, experiment: Experiment, run: Run) -> Done:
    """Train, and show where the checkpoints are and what the model scores."""
    from ddetr_train.callbacks import TrainingPreempted

    try:
        with last_word(lambda _: training.rescue(), _LONGEST_SAVE_SECONDS):
            result = training.run()
    except TrainingPreempted as stop:  # its text says which checkpoint continues
        raise Interrupted(str(stop)) from stop
    except KeyboardInterrupt as stop:
        if isinstance(stop.__cause__, TrainingPreempted):
            raise Interrupted(str(stop)) from stop
        raise Interrupted(what_is_left(experiment.train, run.results_dir)) from None
    if run.is_main_process and not experiment.train.is_dry_run:
        _show(result, run)
        labelled = training.setup.data.val_set
        run.console.say(f"report: {_write_report(labelled, experiment, run)}")
    return Done(result.metrics, result)


def model_for_training(experiment: Experiment) -> ModelConfig:
    """Give the architecture with the data's number of classes, read from them where it is auto.

    Raises:
        SpecError: a key of the model does not go with this number.
    """
    if experiment.dataset.num_classes != "auto":
        return experiment.model.architecture()
    from ddetr_data.loading import resolve_num_classes

    num_classes = resolve_num_classes(experiment.dataset)
    try:
        return experiment.model.architecture(num_classes=num_classes)
    except ValidationError as error:
        told = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        counted = f"dataset.num_classes: auto is {num_classes} with this data"
        raise SpecError(f"model.{told} ({counted})") from None


def what_is_left(config: TrainConfig, results_dir: Path) -> str:
    """Say after an interrupt that saved nothing where the same command begins."""
    from ddetr_train.checkpoints import LATEST_NAME

    latest = results_dir / LATEST_NAME
    given = config.resume_training_checkpoint_path
    if config.is_dry_run or not latest.is_file():
        return "there is no checkpoint, the same command begins anew"
    if given is None or given.resolve() == latest.resolve():
        return f"the same command continues from {latest}"
    return (
        f"the same command begins again from {given}; without "
        f"train.resume_training_checkpoint_path it continues from {latest}"
    )


def _show(result: TrainResult, run: Run) -> None:
    scores = {
        name.removeprefix(_SCORE): value
        for name, value in result.metrics.items()
        if name.startswith(_SCORE) and name != "val_loss"
    }
    if scores:
        run.console.scores(scores, {})
    for name, path in (("best", result.best_checkpoint), ("latest", result.latest_checkpoint)):
        if path is not None:
            run.console.say(f"{name} checkpoint: {path}")


def _write_report(labelled: DetectionSet | None, experiment: Experiment, run: Run) -> Path:
    from ddetr_cli.report import write_training_report

    if labelled is None:
        return write_training_report(run.results_dir)
    return write_training_report(run.results_dir, labelled, experiment.dataset.eval_class_ids)


def with_code(code: str) -> Subtask[Experiment]:
    """Give the subtask that runs a function of one's own, named as MODULE:FUNCTION."""
    return replace(SUBTASK, prepare=partial(prepare, find_transform=partial(load_function, code)))


def with_transform(transform: OwnTransform) -> Subtask[Experiment]:
    """Give the subtask that runs a function of one's own."""
    return replace(SUBTASK, prepare=partial(prepare, find_transform=lambda: transform))


SUBTASK = Subtask(
    "train", Experiment, lambda spec: spec.results_of("train"), prepare, folder_locked, by_hand=True
)
