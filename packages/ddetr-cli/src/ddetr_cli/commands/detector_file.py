"""The file that `evaluate` and `inference` run: a checkpoint, an ONNX file or an engine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ddetr_cli.passphrase import KEY_VARIABLE
from ddetr_cli.running import Run
from ddetr_cli.spec import Experiment, SpecError, existing_file, existing_model, given
from ddetr_data.detection import (
    ALONE,
    DeviceConfig,
    EvaluateConfig,
    InferenceConfig,
    RankSlice,
    RunEvent,
)
from ddetr_data.files import is_encrypted
from ddetr_export.onnx import check_runtime, is_engine, is_onnx, plain_name, stored_path
from ddetr_export.tensorrt import check_tensorrt
from ddetr_train.process import is_launched

if TYPE_CHECKING:
    from ddetr_data.detection import Detector
    from ddetr_export import OnnxDetector
    from ddetr_train import TorchDetector

_CHECKPOINT_ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors")


def checked_detector_file(
    config: EvaluateConfig | InferenceConfig,
    task: str,
    passphrase: str | None,
    key: str | None = None,
) -> Path:
    """Give the file to run: trt_engine, else checkpoint; errors call it by `key` if there is one.

    Raises:
        SpecError, ValueError: none is set, it is of an unknown kind, it is locked, or the block has
            options of another kind.
        MissingExtraError: TensorRT or OpenVINO, which shall run it, is not installed.
        FileNotFoundError: it does not exist.
    """
    if config.trt_engine is None:
        key = key or f"{task}.checkpoint"
        path = existing_model(_stored(config.checkpoint, passphrase), key)
    else:
        key = f"{task}.trt_engine"
        path = existing_file(_stored(config.trt_engine, passphrase), key)
        if not is_engine(path):
            raise SpecError(f"{key} must end in .engine, .plan or .trt, got {path}")
    is_checkpoint = path.is_dir() or plain_name(path).suffix.lower() in _CHECKPOINT_ENDINGS
    if not (is_checkpoint or _is_exported(path)):
        endings = ", ".join(_CHECKPOINT_ENDINGS)
        raise SpecError(f"{key} must end in {endings}, .onnx, .onnx.enc or .etlt, got {path}")
    if is_checkpoint and config.runtime != "auto":
        raise SpecError(f"{task}.runtime is for ONNX files: PyTorch runs {path}")
    if not is_checkpoint and config.compile:
        raise SpecError(f"{task}.compile is for checkpoints: {path} computes as it was exported")
    if not is_checkpoint:
        check_runtime(path, config.runtime, config.precision, f"{task}.")
    readable_file(path, passphrase)
    if is_engine(path):
        check_tensorrt(key)
    return path


def _stored(path: Path | None, passphrase: str | None) -> Path | None:
    """Give the exported file that a name stands for; a checkpoint has no other name."""
    if path is None or not _is_exported(path):
        return path
    return stored_path(path, passphrase)


def readable_file(path: Path, passphrase: str | None) -> None:
    """Ask for the key of an encrypted file before anything heavy is loaded; a folder needs none.

    Raises:
        SpecError: the file is encrypted and there is no key.
    """
    if passphrase is None and path.is_file() and is_encrypted(path):
        raise SpecError(f"{path} is encrypted: set encryption_key or {KEY_VARIABLE} to read it")


def open_detector(
    config: EvaluateConfig | InferenceConfig, task: str, experiment: Experiment
) -> Detector:
    """Open the file of a block with whatever runs it, PyTorch for a checkpoint alone.

    Raises:
        FileNotFoundError, ValueError: as the package that runs it.
    """
    opened = _opened(config, task, experiment)
    if isinstance(config, EvaluateConfig):
        opened.keep_enough(config.max_detections)
    return opened


def _opened(
    config: EvaluateConfig | InferenceConfig, task: str, experiment: Experiment
) -> OnnxDetector | TorchDetector:
    path = given(config.detector_file, f"{task}.checkpoint")
    key, size_hw = experiment.passphrase, config.input_size_hw
    if _is_exported(path):
        from ddetr_export import open_detector as open_exported

        return open_exported(
            path,
            encryption_key=key,
            batch_size=config.batch_size,
            input_size_hw=size_hw,
            runtime=config.runtime,
            precision=config.precision,
        )
    from ddetr_model import inference_form
    from ddetr_train import open_detector as open_checkpoint

    return open_checkpoint(
        path,
        encryption_key=key,
        batch_size=config.batch_size or experiment.dataset.batch_size,
        input_size_hw=size_hw,
        devices=config,
        form=partial(inference_form, precision=config.precision, compile=config.compile),
    )


def launched_ranks(config: DeviceConfig, run: Run) -> AbstractContextManager[RankSlice]:
    """Join the other processes that a launcher has started, if there are any.

    Raises:
        RendezvousError: they do not come in the time that the config gives them.
    """
    if not is_launched():  # ONNX files run without PyTorch, which need not be there
        return nullcontext(ALONE)
    from ddetr_train.process import joined_ranks

    def tell(text: str) -> None:
        if run.launch.local_rank == 0:
            run.report(RunEvent("waiting", text))

    return joined_ranks(timeout_seconds=config.rendezvous_timeout_seconds, tell=tell)


def _is_exported(path: Path) -> bool:
    """Whether ONNX Runtime, OpenVINO or TensorRT runs the file, without PyTorch."""
    return is_onnx(path) or is_engine(path)
