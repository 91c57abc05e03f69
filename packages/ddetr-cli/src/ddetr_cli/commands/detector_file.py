"""The file that `evaluate` and `inference` run: a checkpoint, an ONNX file or an engine."""

from __future__ import annotations

from pathlib import Path

from ddetr_cli.spec import KEY_VARIABLE, SpecError, existing_file
from ddetr_data.detection import EvaluateConfig, InferenceConfig
from ddetr_data.files import is_encrypted
from ddetr_export.onnx import ENCRYPTED_SUFFIX, is_engine
from ddetr_export.tensorrt import HOW_TO_GET_TENSORRT, has_tensorrt

_CHECKPOINT_ENDINGS = (".pth", ".pt", ".ckpt")


def checked_detector_file(
    config: EvaluateConfig | InferenceConfig, task: str, passphrase: str | None
) -> Path:
    """Give the file to run: trt_engine, else checkpoint.

    Raises:
        SpecError: none is set, it is of an unknown kind, it is locked, or it is an engine and
            TensorRT is not installed.
        FileNotFoundError: it does not exist.
    """
    key = f"{task}.checkpoint" if config.trt_engine is None else f"{task}.trt_engine"
    path = existing_file(config.trt_engine or config.checkpoint, key)
    if config.trt_engine is not None and not is_engine(path):
        raise SpecError(f"{key} must end in .engine, .plan or .trt, got {path}")
    if not (path.suffix.lower() in _CHECKPOINT_ENDINGS or is_exported(path)):
        raise SpecError(f"{key} must end in .pth, .pt, .ckpt, .onnx or .onnx.enc, got {path}")
    readable_file(path, passphrase)
    if is_engine(path) and not has_tensorrt():
        raise SpecError(f"{key}: {HOW_TO_GET_TENSORRT}")
    return path


def readable_file(path: Path, passphrase: str | None) -> None:
    """Ask for the key of an encrypted file before anything heavy is loaded.

    Raises:
        SpecError: the file is encrypted and there is no key.
    """
    if passphrase is None and is_encrypted(path):
        raise SpecError(f"{path} is encrypted: set encryption_key or {KEY_VARIABLE} to read it")


def is_exported(path: Path) -> bool:
    """Whether ONNX Runtime or TensorRT runs the file, without PyTorch."""
    plain = path.with_suffix("") if path.suffix == ENCRYPTED_SUFFIX else path
    return plain.suffix.lower() == ".onnx" or is_engine(path)
