"""`ddetr gen_trt_engine`: a TensorRT engine of an exported ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ddetr_cli.commands.detector_file import readable_file
from ddetr_cli.running import Run, Subtask, Work
from ddetr_cli.spec import Experiment, existing_file, existing_images, given
from ddetr_data.detection import RunEvent
from ddetr_export.onnx import stored_path
from ddetr_export.tensorrt import check_tensorrt

if TYPE_CHECKING:
    from ddetr_export.tensorrt import EngineReport

_FIGURES = ("min_batch_size", "opt_batch_size", "max_batch_size", "megabytes", "seconds")
_IMAGES_KEY = "gen_trt_engine.tensorrt.calibration.cal_image_dir"


def prepare(experiment: Experiment, run: Run) -> Work:
    """Find a missing or locked ONNX file, missing images and TensorRT, then read the file."""
    config = experiment.gen_trt_engine
    named = given(config.onnx_file, "gen_trt_engine.onnx_file")
    source = existing_file(stored_path(named, experiment.passphrase), "gen_trt_engine.onnx_file")
    readable_file(source, experiment.passphrase)
    target = given(config.trt_engine, "gen_trt_engine.trt_engine")
    existing_images(config.tensorrt.calibration.cal_image_dir, _IMAGES_KEY)
    check_tensorrt("gen_trt_engine")
    from ddetr_export.tensorrt import prepare_engine

    build = prepare_engine(source, target, config, encryption_key=experiment.passphrase)
    return partial(_build, build, config.tensorrt.data_type, run)


def _build(build: Callable[[], EngineReport], data_type: str, run: Run) -> Mapping[str, float]:
    """Build the engine, and show what it became."""
    run.report(RunEvent("started", f"building a {data_type} engine"))
    report = build()
    for text in report.notices:
        run.notice(text)
    values = (*report.batch_sizes, report.megabytes, report.seconds)
    figures = dict(zip(_FIGURES, values, strict=True))
    columns = ["precision", "TensorRT", *figures]
    row = (report.data_type, report.tensorrt_version, *(f"{v:.4g}" for v in figures.values()))
    run.console.table(f"built {report.path}", columns, [row])
    return figures


SUBTASK = Subtask(
    "gen_trt_engine", Experiment, lambda spec: spec.results_of("gen_trt_engine"), prepare
)
