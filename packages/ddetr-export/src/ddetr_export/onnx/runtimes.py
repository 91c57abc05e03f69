"""What runs an ONNX file, ONNX Runtime or OpenVINO on the CPU, and whether it can."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ddetr_data import InstallHint, check_installed
from ddetr_data.detection import Precision, Runtime
from ddetr_export.onnx.model_file import is_engine

RUNTIME_NAMES: dict[Runtime, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def check_runtime(
    path: Path, runtime: Runtime, precision: Precision = "fp32", block: str = ""
) -> None:
    """Check that a file can run as asked, without loading anything.

    Args:
        path: An ONNX file or an engine.
        runtime: What runs it; auto is ONNX Runtime, and TensorRT for an engine.
        precision: In which it runs.
        block: What errors put in front of the names of both, such as `evaluate.`

    Raises:
        ValueError: there is no such choice, the file has one runtime, or the runtime one precision.
        MissingExtraError: the runtime is not installed.
    """
    for name, value, choices in (
        ("runtime", runtime, get_args(Runtime)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in choices:
            raise ValueError(f"{block}{name} must be one of {', '.join(choices)}, got {value!r}")
    if is_engine(path) and runtime != "auto":
        raise ValueError(f"{block}runtime is for ONNX files: TensorRT runs {path}")
    if runtime == "openvino":
        check_openvino(f"{block}runtime")
    elif precision != "fp32":
        raise ValueError(
            f"{block}precision is for checkpoints and for {block}runtime=openvino: {path} "
            "computes as it was exported"
        )


def check_openvino(what: str) -> None:
    """Check that OpenVINO is installed, without loading it.

    Args:
        what: What needs it; the error begins with this.

    Raises:
        MissingExtraError: it is not installed.
    """
    hint = InstallHint("openvino", "ddetr-export")
    check_installed("openvino", f"{what}: OpenVINO is not installed", hint)
