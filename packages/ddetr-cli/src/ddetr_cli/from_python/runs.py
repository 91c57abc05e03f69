"""Training, evaluation, inference and export as functions: what the command does, with results.

Each takes what `-e` takes, a spec's path, or a dict of its blocks; the same record is left in the
results folder, and the same lines are shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ddetr_cli.from_python.model import Model, load, refuse_misfits
from ddetr_cli.running import InputError, SpecSource, Subtask, call_subtask
from ddetr_cli.spec import read_spec_file, tree_of_values
from ddetr_cli.terminal import figure

if TYPE_CHECKING:
    from ddetr_data.detection import InferenceSummary
    from ddetr_data.torch import OwnTransform
    from ddetr_export import ExportReport

SpecLike: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Training:
    """What a training has left; a path is None where there is no such file."""

    results_dir: Path
    best_checkpoint: Path | None
    latest_checkpoint: Path | None
    metrics: Mapping[str, float]  # of the last epoch: val_AP, val_AP50, train_loss and others
    epochs: int
    seconds: float

    def __repr__(self) -> str:
        """How long it was, what the model scores, where its checkpoint is."""
        scored = "".join(
            f", {name} {figure(self.metrics[f'val_{name}'])}"
            for name in ("AP", "AP50")
            if f"val_{name}" in self.metrics
        )
        kept = self.best_checkpoint or self.latest_checkpoint or self.results_dir
        return f"Training({self.epochs} epochs in {self.seconds:.0f} s{scored}: {kept})"

    def load(self, **options: Any) -> Model:
        """Open the best checkpoint, or the latest where none was scored; options as `load`.

        Raises:
            InputError: there is none, or as `load`.
        """
        checkpoint = self.best_checkpoint or self.latest_checkpoint
        if checkpoint is None:
            raise InputError(f"the training has left no checkpoint in {self.results_dir}")
        return load(checkpoint, **options)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """COCO's scores, 0 to 1; NaN where there is nothing to find."""

    results_dir: Path
    overall: Mapping[str, float]  # the twelve figures: AP, AP50, AP75, ...
    per_class: Mapping[str, Mapping[str, float]]  # class name -> AP, AP50

    def __repr__(self) -> str:
        """The twelve figures."""
        listed = ", ".join(f"{name} {figure(value)}" for name, value in self.overall.items())
        return f"Evaluation({listed}: {self.results_dir})"


def train(
    spec: SpecLike,
    *,
    overrides: Sequence[str] = (),
    quiet: bool = False,
    transform: OwnTransform | None = None,
    **blocks: Any,
) -> Training:
    """Train as `ddetr train` does; a training that was interrupted goes on.

    Args:
        spec: The path of a YAML file, or a dict of its blocks.
        overrides: Keys as the command line sets them: ["train.num_epochs=3"]; they win.
        quiet: Show nothing but what is waited for.
        transform: Of each training image that is read, as `ddetr_train.train` takes one.
        blocks: Blocks or keys to lay over the spec: results_dir="results", train={"num_epochs": 3}.

    Raises:
        InputError: something in the spec or the data is wrong; the text is the command's sentence.
        KeyboardInterrupt: it was interrupted; the text says what was kept.
    """
    if transform is not None:
        from ddetr_cli.commands.train import with_transform

        subtask = with_transform(transform)
    else:
        subtask = _subtask("train")
    folder, result = _call(subtask, spec, overrides, blocks, quiet)
    return Training(folder, **vars(result))


def evaluate(
    spec: SpecLike, *, overrides: Sequence[str] = (), quiet: bool = False, **blocks: Any
) -> Evaluation:
    """Score evaluate.checkpoint on dataset.test_data_sources, as `ddetr evaluate` does.

    Arguments and errors are those of `train`.
    """
    folder, scores = _call(_subtask("evaluate"), spec, overrides, blocks, quiet)
    return Evaluation(folder, scores.overall, scores.per_class)


def inference(
    spec: SpecLike, *, overrides: Sequence[str] = (), quiet: bool = False, **blocks: Any
) -> InferenceSummary:
    """Write labels and annotated images of a folder, as `ddetr inference` does.

    For detections in memory there is `load(path).predict(images)`. Arguments and errors are those
    of `train`.
    """
    summary: InferenceSummary = _call(_subtask("inference"), spec, overrides, blocks, quiet)[1]
    return summary


def export(
    spec: SpecLike, *, overrides: Sequence[str] = (), quiet: bool = False, **blocks: Any
) -> ExportReport:
    """Write export.checkpoint as an ONNX file that was compared with it, as `ddetr export` does.

    Arguments and errors are those of `train`. The report's `path` is what `load` takes.
    """
    report: ExportReport = _call(_subtask("export"), spec, overrides, blocks, quiet)[1]
    return report


def _subtask(task: str) -> Subtask[Any]:
    module = import_module(f"ddetr_cli.commands.{task}")
    subtask: Subtask[Any] = module.EXPORT if task == "export" else module.SUBTASK
    return subtask


def _call(
    subtask: Subtask[Any],
    spec: SpecLike,
    overrides: Sequence[str],
    blocks: Mapping[str, Any],
    quiet: bool,
) -> tuple[Path, Any]:
    """Run a subtask; gives its results folder and its result."""
    refuse_misfits()
    if isinstance(overrides, str):
        raise InputError(f"overrides must be a list, got a text; write [{overrides!r}]")
    name, read = _reader(spec)
    source = SpecSource(name, lambda: tree_of_values(blocks, "an argument", read()), overrides)
    return call_subtask(subtask, source, quiet=quiet)


def _reader(spec: SpecLike) -> tuple[str, Any]:
    """Say what a spec is called, and give what reads it."""
    if isinstance(spec, Mapping):
        return "a dict", partial(tree_of_values, spec, "the dict")
    if not isinstance(spec, (str, os.PathLike)):
        raise InputError(f"a spec must be a path or a dict, got {type(spec).__name__}")
    if "\n" in os.fspath(spec):
        raise InputError(
            "a spec must be a path or a dict, got a text of several lines; a dict is "
            "what yaml.safe_load(text) gives"
        )
    path = Path(spec)
    return str(path.resolve()), partial(read_spec_file, path)
