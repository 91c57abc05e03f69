"""TensorRT engines from exported files, for TensorRT 8.6, 10 and 11.

A thin layer over TensorRT's Python builder. It has run only against a fake that records calls: no
machine with TensorRT was at hand. TensorRT 11 dropped the builder's precision flags and its
calibrator, so INT8 is always written into the ONNX file, and FP16 from version 11 on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import onnx

from ddetr_export.calibration import calibrate
from ddetr_export.config import TensorRTConfig, TrtEngineConfig
from ddetr_export.fp16 import to_fp16

_FIRST_STRONGLY_TYPED = 11
_FIRST_ALWAYS_EXPLICIT = 10  # versions before need the flag EXPLICIT_BATCH
_LAYER_TYPES = {"fp32": "FLOAT", "float": "FLOAT", "fp16": "HALF", "half": "HALF", "int8": "INT8"}


class EngineBuildError(RuntimeError):
    """TensorRT refused the file or gave no engine."""


@dataclass(frozen=True)
class EngineReport:
    """One engine built."""

    path: Path
    data_type: str
    tensorrt_version: str
    batch_sizes: tuple[int, int, int]  # least, best, most
    megabytes: float
    seconds: float


def build_engine(
    onnx_file: str | Path, trt_engine: str | Path, config: TrtEngineConfig, *, trt: Any = None
) -> EngineReport:
    """Build an engine and write it; an engine already there is replaced when the new one is whole.

    Args:
        onnx_file: A file of `export_onnx`; with plugin nodes it gets TensorRT's plugin.
        trt_engine: Where to write.
        config: Precision, batch sizes, memory, calibration.
        trt: The module tensorrt; None imports it.

    Raises:
        FileNotFoundError: there is no onnx_file.
        ValueError: TensorRT is not installed, or config does not fit the file or the version.
        EngineBuildError: TensorRT's parser or builder failed; the text is TensorRT's own.
    """
    started = time.perf_counter()
    source, target = Path(onnx_file), Path(trt_engine)
    if not source.is_file():
        raise FileNotFoundError(f"no ONNX file at {source}; write one with `ddetr export`")
    trt = trt or _import_tensorrt()
    batch_sizes = _batch_sizes(source, config)
    content = _lower_precision(source, config.tensorrt, _major(trt))
    build = _Build(trt, config)
    network = build.parse(content, source)
    serialized = build.run(network, batch_sizes)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.partial")
    draft.write_bytes(serialized)
    draft.replace(target)
    return EngineReport(
        path=target,
        data_type=config.tensorrt.data_type,
        tensorrt_version=trt.__version__,
        batch_sizes=batch_sizes,
        megabytes=target.stat().st_size / 1e6,
        seconds=time.perf_counter() - started,
    )


def _import_tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise ValueError(
            "gen_trt_engine needs TensorRT: install ddetr-export[tensorrt] on a machine with an "
            "NVIDIA GPU, or use the ONNX file with trtexec"
        ) from error
    return tensorrt


def _major(trt: Any) -> int:
    return int(trt.__version__.split(".")[0])


def _batch_sizes(source: Path, config: TrtEngineConfig) -> tuple[int, int, int]:
    """Least, best and most images a run; a file of a fixed batch allows that one alone."""
    wanted = config.tensorrt
    sizes = (wanted.min_batch_size, wanted.opt_batch_size, wanted.max_batch_size)
    batch = onnx.load(source).graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.HasField("dim_value"):
        return sizes
    if set(sizes) != {batch.dim_value} or config.batch_size not in (-1, batch.dim_value):
        raise ValueError(
            f"{source} was exported with batch_size {batch.dim_value}; set gen_trt_engine's "
            f"min, opt and max batch size to it, got {sizes}, or export with batch_size -1"
        )
    return sizes


def _lower_precision(source: Path, config: TensorRTConfig, major: int) -> bytes:
    """The file's bytes, with the precision in them where the builder has no flag for it."""
    typed = major >= _FIRST_STRONGLY_TYPED
    if typed and config.layers_precision:
        raise ValueError(
            f"layers_precision is not possible in TensorRT {major}: the ONNX file alone decides"
        )
    if typed and config.data_type == "BF16":
        raise ValueError(f"data_type BF16 is not available in this version for TensorRT {major}")
    if config.data_type == "INT8":
        return calibrate(source, config.calibration)
    if config.data_type == "FP16" and typed:
        content: bytes = to_fp16(onnx.load(source)).SerializeToString()
        return content
    return source.read_bytes()


class _Build:
    """One run of TensorRT's builder."""

    def __init__(self, trt: Any, config: TrtEngineConfig) -> None:
        self.trt = trt
        self.config = config
        severity = trt.Logger.VERBOSE if config.verbose else trt.Logger.WARNING
        self.logger = trt.Logger(severity)
        trt.init_libnvinfer_plugins(self.logger, "")
        self.builder = trt.Builder(self.logger)

    def parse(self, content: bytes, source: Path) -> Any:
        """Read the ONNX bytes into a network."""
        network = self.builder.create_network(self._network_flags())
        parser = self.trt.OnnxParser(network, self.logger)
        if not parser.parse(content):
            errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise EngineBuildError(f"TensorRT's parser refused {source}: {errors}")
        return network

    def run(self, network: Any, batch_sizes: tuple[int, int, int]) -> bytes:
        """Build, keeping the timing cache."""
        settings = self.builder.create_builder_config()
        workspace_bytes = self.config.tensorrt.workspace_size << 20
        settings.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        settings.add_optimization_profile(self._profile(network, batch_sizes))
        self._set_precision(network, settings)
        cache = self._load_timing_cache(settings)
        serialized = self.builder.build_serialized_network(network, settings)
        if serialized is None:
            raise EngineBuildError("TensorRT built no engine; its log says why")
        if cache is not None:
            Path(str(self.config.timing_cache)).write_bytes(bytes(cache.serialize()))
        return bytes(serialized)

    def _network_flags(self) -> int:
        flags = self.trt.NetworkDefinitionCreationFlag
        major = _major(self.trt)
        if major < _FIRST_ALWAYS_EXPLICIT:
            return 1 << int(flags.EXPLICIT_BATCH)
        return 1 << int(flags.STRONGLY_TYPED) if major >= _FIRST_STRONGLY_TYPED else 0

    def _profile(self, network: Any, batch_sizes: tuple[int, int, int]) -> Any:
        profile = self.builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            sizes = tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((batch, *sizes) for batch in batch_sizes))
        return profile

    def _set_precision(self, network: Any, settings: Any) -> None:
        if _major(self.trt) >= _FIRST_STRONGLY_TYPED:
            return
        wanted = self.config.tensorrt
        if wanted.data_type != "FP32":
            settings.set_flag(getattr(self.trt.BuilderFlag, wanted.data_type))
        if wanted.layers_precision:
            settings.set_flag(self.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for rule in wanted.layers_precision:
            self._set_layers(network, rule)

    def _set_layers(self, network: Any, rule: str) -> None:
        pattern, _, name = rule.rpartition(":")
        if name.lower() not in _LAYER_TYPES or not pattern:
            raise ValueError(f"layers_precision must hold 'layer:fp32|fp16|int8', got {rule!r}")
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        chosen = [layer for layer in layers if fnmatchcase(layer.name, pattern)]
        if not chosen:
            raise ValueError(f"layers_precision {rule!r} names no layer of the network")
        for layer in chosen:
            layer.precision = getattr(self.trt.DataType, _LAYER_TYPES[name.lower()])

    def _load_timing_cache(self, settings: Any) -> Any:
        if self.config.timing_cache is None:
            return None
        path = Path(self.config.timing_cache)
        cache = settings.create_timing_cache(path.read_bytes() if path.is_file() else b"")
        settings.set_timing_cache(cache, False)
        return cache
