"""`ddetr export`: a checkpoint as an ONNX file, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from ddetr_cli.preflight import existing_file, given, no_encryption
from ddetr_cli.run import Run, Subtask
from ddetr_cli.spec import Experiment
from ddetr_train.events import RunEvent


def check(experiment: Experiment) -> None:
    """Find a missing checkpoint, and a file in the way."""
    no_encryption(experiment.encryption_key)
    export = experiment.export
    existing_file(export.checkpoint, "export.checkpoint")
    onnx_file = given(export.onnx_file, "export.onnx_file")
    if onnx_file.exists() and not export.overwrite:
        raise FileExistsError(
            f"export.onnx_file: {onnx_file} exists; give export.overwrite=true to replace it"
        )


def execute(experiment: Experiment, run: Run) -> Mapping[str, float]:
    """Export, and show how far ONNX Runtime's answers are from PyTorch's."""
    from ddetr_export import export_onnx

    export = experiment.export
    onnx_file = given(export.onnx_file, "export.onnx_file")
    report = export_onnx(
        given(export.checkpoint, "export.checkpoint"),
        onnx_file,
        export,
        on_progress=lambda step: run.report(RunEvent("started", step)),
    )
    figures = {
        "opset": report.opset,
        "nodes": report.nodes,
        "megabytes": report.megabytes,
        "max_error_logits": report.max_error_logits,
        "max_error_boxes": report.max_error_boxes,
        "seconds": report.seconds,
    }
    rows = [tuple(f"{value:.4g}" for value in figures.values())]
    run.console.table(f"exported {report.path}", list(figures), rows)
    return figures


EXPORT = Subtask("export", Experiment, lambda spec: spec.results_of("export"), check, execute)
