"""What `evaluate` and `inference` share: the checkpoint or ONNX file that they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from ddetr_cli.preflight import existing_file, no_encryption
from ddetr_cli.spec_tree import SpecError
from ddetr_train.config import EvaluateConfig, InferenceConfig

if TYPE_CHECKING:
    from ddetr_export import Detector

_ENDINGS = (".pth", ".pt", ".ckpt", ".onnx")


def checked_detector_file(
    config: EvaluateConfig | InferenceConfig, task: str, encryption_key: SecretStr | None
) -> Path:
    """Give the file to run.

    Raises:
        SpecError: none is set, or it is of a kind that this version does not run.
        FileNotFoundError: it does not exist.
    """
    no_encryption(encryption_key)
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


def open_onnx(path: Path, config: EvaluateConfig | InferenceConfig) -> Detector:
    """Open an ONNX file for the block's batch size; its input size is its own.

    Raises:
        ValueError: the block asks for another input size or batch than the file has.
    """
    from ddetr_export import Detector

    detector = Detector(path, batch_size=config.batch_size)
    wanted = (config.input_height, config.input_width)
    fixed = (detector.preprocess_config.height, detector.preprocess_config.width)
    if None not in wanted and wanted != fixed:
        raise SpecError(
            f"{path} was exported for input_height {fixed[0]} and input_width {fixed[1]}, "
            f"got {wanted[0]} and {wanted[1]}"
        )
    return detector
