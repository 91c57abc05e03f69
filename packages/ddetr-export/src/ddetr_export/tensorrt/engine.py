"""TensorRT engines from exported files, for TensorRT 8.6, 10 and 11.

A thin layer over TensorRT's Python builder. It has run only against a fake that is made from the
real Python bindings of 8.6.1 to 11.4.0: no machine with TensorRT was at hand. TensorRT 11 dropped
the builder's precision flags and its calibrator. So INT8 is always written into the ONNX file; FP16
too from version 10 on, which keeps sampling and box refinement at 32 bit whatever the builder would
choose.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ddetr_data.files import write_all
from ddetr_export.config import TrtEngineConfig
from ddetr_export.layer_rules import layer_rules
from ddetr_export.onnx import load_onnx, locked, read_metadata, read_model, to_fp16, written_path
from ddetr_export.tensorrt._engine_notes import EngineNotes, notes_content, notes_path
from ddetr_export.tensorrt.bindings import Cuda, import_cuda, import_tensorrt, major_version
from ddetr_export.tensorrt.builder import EngineBuilder, EngineBuildError
from ddetr_export.tensorrt.calibration import calibrate

__all__ = ["EngineBuildError", "EngineReport", "build_engine", "prepare_engine"]

_FIRST_WITHOUT_FLAGS = 11
_FIRST_STRONGLY_TYPED = 10


@dataclass(frozen=True)
class EngineReport:
    """One engine built."""

    path: Path
    data_type: str
    tensorrt_version: str
    batch_sizes: tuple[int, int, int]  # least, best, most; read back from the engine
    megabytes: float  # 10**6 bytes
    seconds: float
    notices: tuple[str, ...]  # keys of the spec that the ONNX file overrules


def build_engine(
    onnx_file: str | Path,
    trt_engine: str | Path,
    config: TrtEngineConfig,
    *,
    encryption_key: str | None = None,
    trt: Any = None,
    cuda: Cuda | None = None,
) -> EngineReport:
    """Build an engine and write it; an engine already there is replaced when the new one is whole.

    `<trt_engine>.json` beside it keeps what `OnnxDetector` has to know.

    Args:
        onnx_file: A file of `export_onnx`; with plugin nodes it gets TensorRT's plugin.
        trt_engine: Where to write; with a key, `.enc` is added.
        config: Precision, batch sizes, memory, calibration.
        encryption_key: Passphrase of an encrypted onnx_file, and of all that is written.
        trt: The module tensorrt; None imports it.
        cuda: CUDA's runtime; None imports it where it is needed.

    Raises:
        FileNotFoundError: there is no onnx_file.
        ValueError: TensorRT is not installed, config does not fit the file or the version, or the
            file is not ours.
        EngineBuildError: TensorRT's parser or builder failed; the text is TensorRT's own.
    """
    return prepare_engine(
        onnx_file, trt_engine, config, encryption_key=encryption_key, trt=trt, cuda=cuda
    )()


def prepare_engine(
    onnx_file: str | Path,
    trt_engine: str | Path,
    config: TrtEngineConfig,
    *,
    encryption_key: str | None = None,
    trt: Any = None,
    cuda: Cuda | None = None,
) -> Callable[[], EngineReport]:
    """Check all that can refuse the engine; the function returned does the long build.

    Arguments are those of build_engine.

    Raises:
        FileNotFoundError, ValueError: as build_engine.
    """
    started = time.perf_counter()
    source, target = Path(onnx_file), written_path(Path(trt_engine), encryption_key)
    content = read_model(source, encryption_key, "ONNX file")
    model = load_onnx(content, source)
    metadata = read_metadata(model, str(source))
    batch_sizes = _batch_sizes(model, source, config)
    trt = trt or import_tensorrt()
    if config.gpu_id:
        (cuda or Cuda(import_cuda())).choose_device(config.gpu_id)
    typed = is_strongly_typed(major_version(trt), config)
    notices = _without_effect(model, config)

    def build() -> EngineReport:
        lowered = _lower_precision(content, source, config, typed, encryption_key)
        builder = EngineBuilder(trt, config, typed=typed)
        serialized = builder.build(lowered, source, batch_sizes)
        notes = EngineNotes(
            metadata=metadata,
            onnx_sha256=hashlib.sha256(content).hexdigest(),
            data_type=config.tensorrt.data_type,
            tensorrt_version=str(trt.__version__),
            batch_sizes=builder.read_back(serialized),
        )
        contents = {target: serialized, notes_path(target): notes_content(notes)}
        write_all({path: locked(each, encryption_key) for path, each in contents.items()})
        return EngineReport(
            path=target,
            data_type=notes.data_type,
            tensorrt_version=notes.tensorrt_version,
            batch_sizes=notes.batch_sizes,
            megabytes=target.stat().st_size / 1e6,
            seconds=time.perf_counter() - started,
            notices=notices,
        )

    return build


def is_strongly_typed(major: int, config: TrtEngineConfig) -> bool:
    """Whether the ONNX file alone decides the number formats.

    Raises:
        ValueError: the version has no way to give what is asked.
    """
    if config.tensorrt.data_type != "BF16":
        return major >= _FIRST_STRONGLY_TYPED
    if major >= _FIRST_WITHOUT_FLAGS:
        raise ValueError(f"data_type BF16 is not available in this version for TensorRT {major}")
    return False


def _batch_sizes(
    model: onnx.ModelProto, source: Path, config: TrtEngineConfig
) -> tuple[int, int, int]:
    """Least, best and most images a run; a file of a fixed batch allows that one alone."""
    wanted = config.tensorrt
    sizes = (wanted.min_batch_size, wanted.opt_batch_size, wanted.max_batch_size)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.HasField("dim_value"):
        return sizes
    if set(sizes) != {batch.dim_value} or config.batch_size not in (-1, batch.dim_value):
        raise ValueError(
            f"{source} was exported with batch_size {batch.dim_value}; set gen_trt_engine's "
            f"min, opt and max batch size to it, got {sizes}, or export with batch_size -1"
        )
    return sizes


def _lower_precision(
    content: bytes, source: Path, config: TrtEngineConfig, typed: bool, encryption_key: str | None
) -> bytes:
    """Write the number formats into the file's bytes where the builder has no flag for them."""
    wanted = config.tensorrt
    if wanted.data_type == "INT8":
        content = calibrate(content, str(source), wanted.calibration, encryption_key)
    if not typed or not (wanted.data_type == "FP16" or wanted.layers_precision):
        return content
    lowered: bytes = to_fp16(
        onnx.load_from_string(content),
        by_default=wanted.data_type == "FP16",
        rules=layer_rules(wanted.layers_precision),
    ).SerializeToString()
    return lowered


def _without_effect(model: onnx.ModelProto, config: TrtEngineConfig) -> tuple[str, ...]:
    """Say which sizes of the spec do not count, because the ONNX file has others."""
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    stated = {"input_height": shape[2], "input_width": shape[3]}
    return tuple(
        f"gen_trt_engine.{key}={getattr(config, key)} does not count: the ONNX file has {found}"
        for key, found in stated.items()
        if key in config.model_fields_set and getattr(config, key) != found
    )
