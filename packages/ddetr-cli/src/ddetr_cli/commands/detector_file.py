"""The file that `evaluate` and `inference` run: a checkpoint, or an ONNX file."""

from __future__ import annotations

from pathlib import Path

from ddetr_cli.preflight import existing_file
from ddetr_cli.spec_tree import SpecError
from ddetr_train.config import EvaluateConfig, InferenceConfig

_ENDINGS = (".pth", ".pt", ".ckpt", ".onnx")


def checked_detector_file(config: EvaluateConfig | InferenceConfig, task: str) -> Path:
    """Give the file to run.

    Raises:
        SpecError: none is set, or it is of a kind that this version does not run.
        FileNotFoundError: it does not exist.
    """
    if config.trt_engine is not None:
        raise SpecError(
            f"{task}.trt_engine is not available in this version; "
            f"set {task}.checkpoint to a .pth or .onnx file"
        )
    path = existing_file(config.checkpoint, f"{task}.checkpoint")
    if path.suffix.lower() not in _ENDINGS:
        raise SpecError(f"{task}.checkpoint must end in {', '.join(_ENDINGS)}, got {path}")
    return path


def is_onnx(path: Path) -> bool:
    """Whether ONNX Runtime runs the file, without PyTorch."""
    return path.suffix.lower() == ".onnx"
