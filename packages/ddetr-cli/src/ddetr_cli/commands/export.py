"""`ddetr export`: a checkpoint as ONNX, compared with PyTorch; or a plugin file rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ddetr_cli.commands.arguments import ExportArguments
from ddetr_cli.commands.detector_file import readable_file
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import Done, Run, Subtask, Work, run_subtask
from ddetr_cli.spec import (
    Experiment,
    SpecError,
    existing_file,
    existing_model,
    existing_sources,
    given,
    local_path,
)
from ddetr_cli.terminal import RunConsole, figure
from ddetr_data.detection import RunEvent
from ddetr_export.onnx import beside, stored_path, written_path

if TYPE_CHECKING:
    from ddetr_data import Category, DatasetConfig, DataSource
    from ddetr_data.coco import DetectionSet
    from ddetr_export import PreparedExport
    from ddetr_export.proof import Score

_STANDARD_ENDING = ".standard.onnx"  # instead of .onnx and of .onnx.enc
_FIGURES = ("opset", "nodes", "megabytes", "max_error_logits", "max_error_boxes", "seconds")


def prepare(experiment: Experiment, run: Run) -> Work:
    """Refuse a missing or locked checkpoint and an existing file; read checkpoint and labels."""
    export = experiment.export
    checkpoint = existing_model(export.checkpoint, "export.checkpoint")
    readable_file(checkpoint, experiment.passphrase)
    onnx_file = given(export.onnx_file, "export.onnx_file")
    target = written_path(onnx_file, experiment.passphrase)
    _refuse_existing(target, "export.onnx_file", overwrite=export.overwrite)
    labelled = _labelled(experiment, run)
    from ddetr_export import prepare_export

    prepared = prepare_export(
        checkpoint,
        onnx_file,
        export,
        encryption_key=experiment.passphrase,
        labelled=labelled,
        category_ids=experiment.dataset.eval_class_ids,
        on_progress=lambda step: run.report(RunEvent("started", step)),
    )
    return partial(_export, prepared, run)


def _export(prepared: PreparedExport, run: Run) -> Done:
    """Export, and show how far ONNX Runtime's answers are from PyTorch's."""
    report = prepared.run()
    figures: dict[str, float] = {name: getattr(report, name) for name in _FIGURES}
    rows = [tuple(f"{value:.4g}" for value in figures.values())]
    run.console.table(f"exported {report.path}", list(figures), rows)
    _show_scores(report.scores, run)
    scored = {f"AP_{each.network}": each.AP for each in report.scores if each.AP is not None}
    return Done({**figures, **scored}, report)


def prepare_rewriting(experiment: Experiment, run: Run) -> Work:
    """Refuse a missing or locked plugin file and an existing file; rewrite it in memory."""
    source = _plugin_file(experiment)
    readable_file(source, experiment.passphrase)
    standard = beside(source, _STANDARD_ENDING)
    target = written_path(standard, experiment.passphrase)
    _refuse_existing(target, "the standard file", overwrite=experiment.export.overwrite)
    from ddetr_export.onnx import prepare_standard

    write = prepare_standard(
        source,
        standard,
        encryption_key=experiment.passphrase,
        overwrite=experiment.export.overwrite,
    )
    return partial(_write_standard, write, run)


def _write_standard(write: Callable[[], Path], run: Run) -> Mapping[str, float]:
    """Write export.onnx_file, a plugin file, again with standard operators."""
    target = write()
    run.console.say(f"standard operators: {target}")
    return {"megabytes": target.stat().st_size / 1e6}


def rewrite_as_standard(paths: Sequence[str], console: RunConsole) -> int:
    """Rewrite SOURCE, as TARGET if there is one; the passphrase is the environment's."""
    from ddetr_export import to_standard

    if len(paths) not in (1, 2):
        raise SpecError(
            "export --to-standard takes -e SPEC.YAML, or PLUGIN.onnx and perhaps STANDARD.onnx, "
            f"got {len(paths)} names"
        )
    source, *named = (Path(local_path(path, "a file to rewrite")) for path in paths)
    target = named[0] if named else beside(source, _STANDARD_ENDING)
    written = to_standard(source, target, encryption_key=key_of_environment())
    console.say(f"standard operators: {written}")
    return 0


def _plugin_file(experiment: Experiment) -> Path:
    named = given(experiment.export.onnx_file, "export.onnx_file")
    return existing_file(stored_path(named, experiment.passphrase), "export.onnx_file")


def _refuse_existing(path: Path, what: str, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{what}: {path} exists; give export.overwrite=true to replace it")


def _labelled(
    experiment: Experiment, run: Run
) -> Callable[[tuple[Category, ...]], DetectionSet] | None:
    """Find the labelled images to score on, of val_data_sources or else of test_data_sources.

    A spec may name data that only the training machine has: then AP is not measured, which a
    notice says.
    """
    data = experiment.dataset
    key = "val_data_sources" if data.val_data_sources else "test_data_sources"
    sources = getattr(data, key)
    if not sources or experiment.export.score_images == 0:
        return None
    try:
        existing_sources(sources, f"dataset.{key}")
    except FileNotFoundError as error:
        run.notice(f"AP is not measured: {error}")
        return None
    return partial(_read_labels, sources, data)


def _read_labels(
    sources: Sequence[DataSource], data: DatasetConfig, classes: tuple[Category, ...]
) -> DetectionSet:
    """Read them by the rules that evaluation follows; unreadable images are found when used."""
    from ddetr_data.coco import load_sources
    from ddetr_data.loading import LabelContract, fit_to_headers

    contract = replace(
        LabelContract.of_scoring(data, classes), owner="the checkpoint", name="the labelled images"
    )
    loaded = load_sources(
        sources,
        num_classes=None,
        ignore_regions=data.ignore_regions,
        match_classes=data.match_classes,
    )
    labelled = fit_to_headers(contract.fitted(loaded))
    contract.check_losses(labelled)
    return labelled


def _show_scores(scores: Sequence[Score], run: Run) -> None:
    if not scores:
        return
    columns = ["network", "AP", "AP50", "AP75"]
    rows = [
        (each.network, *(figure(value, 4) for value in (each.AP, each.AP50, each.AP75)))
        for each in scores
    ]
    run.console.table(f"scores on {scores[0].images} labelled images", columns, rows)


EXPORT = Subtask("export", Experiment, lambda spec: spec.results_of("export"), prepare)
TO_STANDARD = replace(EXPORT, prepare=prepare_rewriting)


def main(arguments: ExportArguments, console: RunConsole) -> int:
    """Export or rewrite by the spec, or rewrite the files that are given instead of it.

    Raises:
        typer.BadParameter: an export without a spec.
    """
    words = arguments.overrides or ()
    if arguments.spec is None and arguments.to_standard:
        return rewrite_as_standard(words, console)
    if arguments.spec is None:
        raise typer.BadParameter("the spec file is missing", param_hint="-e")
    return run_subtask(TO_STANDARD if arguments.to_standard else EXPORT, arguments.spec, words)
