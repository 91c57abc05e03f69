"""`ddetr gen_trt_engine`: a TensorRT engine of an exported ONNX file."""

from __future__ import annotations

from collections.abc import Mapping

from ddetr_cli.commands.detector_file import readable_file
from ddetr_cli.running import Run, Subtask
from ddetr_cli.spec import Experiment, SpecError, existing_file, existing_images, given
from ddetr_data.detection import RunEvent
from ddetr_export.tensorrt import HOW_TO_GET_TENSORRT, has_tensorrt

_IMAGES_KEY = "gen_trt_engine.tensorrt.calibration.cal_image_dir"


def check(experiment: Experiment) -> None:
    """Find a missing or locked ONNX file, missing images, and that TensorRT is missing."""
    config = experiment.gen_trt_engine
    source = existing_file(config.onnx_file, "gen_trt_engine.onnx_file")
    readable_file(source, experiment.passphrase)
    given(config.trt_engine, "gen_trt_engine.trt_engine")
    existing_images(config.tensorrt.calibration.cal_image_dir, _IMAGES_KEY)
    if not has_tensorrt():
        raise SpecError(f"gen_trt_engine: {HOW_TO_GET_TENSORRT}")


def execute(experiment: Experiment, run: Run) -> Mapping[str, float]:
    """Build the engine, and show what it became."""
    from ddetr_export import build_engine

    config = experiment.gen_trt_engine
    run.report(RunEvent("started", f"building a {config.tensorrt.data_type} engine"))
    report = build_engine(
        given(config.onnx_file, "gen_trt_engine.onnx_file"),
        given(config.trt_engine, "gen_trt_engine.trt_engine"),
        config,
        encryption_key=experiment.passphrase,
    )
    for text in report.notices:
        run.notice(text)
    least, best, most = report.batch_sizes
    figures = {
        "min_batch_size": least,
        "opt_batch_size": best,
        "max_batch_size": most,
        "megabytes": report.megabytes,
        "seconds": report.seconds,
    }
    columns = ["precision", "TensorRT", *figures]
    row = (report.data_type, report.tensorrt_version, *(f"{v:.4g}" for v in figures.values()))
    run.console.table(f"built {report.path}", columns, [row])
    return figures


GEN_TRT_ENGINE = Subtask(
    "gen_trt_engine", Experiment, lambda spec: spec.results_of("gen_trt_engine"), check, execute
)
