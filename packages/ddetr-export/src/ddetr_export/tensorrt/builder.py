"""One run of TensorRT's builder, from the bytes of an ONNX file to those of an engine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ddetr_data.files import write_whole
from ddetr_export.config import TrtEngineConfig
from ddetr_export.layer_rules import layer_rules
from ddetr_export.tensorrt.bindings import major_version
from ddetr_export.tensorrt.network import batch_profile

logger = logging.getLogger(__name__)

_FIRST_ALWAYS_EXPLICIT = 10  # versions before need the flag EXPLICIT_BATCH
_LAYER_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}


class EngineBuildError(RuntimeError):
    """TensorRT refused the file or gave no engine."""


class EngineBuilder:
    """TensorRT's builder with the settings of a spec."""

    def __init__(self, trt: Any, config: TrtEngineConfig, *, typed: bool) -> None:
        """Start TensorRT.

        Args:
            trt: The module tensorrt.
            config: The block `gen_trt_engine`.
            typed: The ONNX file alone decides the number formats: from TensorRT 10 on, whose flags
                for them are deprecated and gone in 11.
        """
        self._trt = trt
        self._config = config
        self._typed = typed
        severity = trt.Logger.VERBOSE if config.verbose else trt.Logger.WARNING
        self._logger = trt.Logger(severity)
        trt.init_libnvinfer_plugins(self._logger, "")
        self._builder = trt.Builder(self._logger)

    def build(self, content: bytes, source: Path, batch_sizes: tuple[int, int, int]) -> bytes:
        """Build the engine of an ONNX file's bytes, keeping the timing cache.

        Raises:
            EngineBuildError: the parser or the builder failed.
            ValueError: a layer that layers_precision names is not there.
        """
        network = self._parse(content, source)
        settings = self._builder.create_builder_config()
        workspace_bytes = self._config.tensorrt.workspace_size << 20
        settings.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        settings.add_optimization_profile(self._profile(network, batch_sizes))
        if not self._typed:
            self._set_precision(network, settings)
        cache = self._load_timing_cache(settings)
        serialized = self._builder.build_serialized_network(network, settings)
        if serialized is None:
            raise EngineBuildError("TensorRT built no engine; its log says why")
        if cache is not None:
            write_whole(str(self._config.timing_cache), bytes(cache.serialize()))
        return bytes(serialized)

    def read_back(self, serialized: bytes) -> tuple[int, int, int]:
        """Load the engine and give the batch sizes that it says: least, best, most.

        Raises:
            EngineBuildError: TensorRT does not load what it built.
        """
        engine = self._trt.Runtime(self._logger).deserialize_cuda_engine(serialized)
        if engine is None:
            raise EngineBuildError("TensorRT does not load the engine that it built")
        return batch_profile(engine)

    def _parse(self, content: bytes, source: Path) -> Any:
        network = self._builder.create_network(self._network_flags())
        parser = self._trt.OnnxParser(network, self._logger)
        if not parser.parse(content):
            errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise EngineBuildError(f"TensorRT's parser refused {source}: {errors}")
        return network

    def _network_flags(self) -> int:
        flags = self._trt.NetworkDefinitionCreationFlag
        if major_version(self._trt) < _FIRST_ALWAYS_EXPLICIT:
            return 1 << int(flags.EXPLICIT_BATCH)
        return 1 << int(flags.STRONGLY_TYPED) if self._typed else 0

    def _profile(self, network: Any, batch_sizes: tuple[int, int, int]) -> Any:
        profile = self._builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            sizes = tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((batch, *sizes) for batch in batch_sizes))
        return profile

    def _set_precision(self, network: Any, settings: Any) -> None:
        """Set the builder's flags; the plugin and the layers that rules name keep their own."""
        wanted = self._config.tensorrt
        flags = self._trt.BuilderFlag
        if wanted.data_type != "FP32":
            if not hasattr(flags, wanted.data_type):
                raise ValueError(
                    f"TensorRT {self._trt.__version__} has no data_type {wanted.data_type}"
                )
            settings.set_flag(getattr(flags, wanted.data_type))
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        types = self._trt.LayerType
        plugins = {types.PLUGIN_V2, getattr(types, "PLUGIN_V3", types.PLUGIN_V2)}  # V3 from 10 on
        exact = [each for each in layers if each.type in plugins]
        if wanted.layers_precision or (exact and wanted.data_type != "FP32"):
            settings.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
        for layer in exact:  # in half it would be off by pixels: its locations are halves too
            layer.precision = self._trt.DataType.FLOAT
        for rule in layer_rules(wanted.layers_precision):
            for index in rule.indices([layer.name for layer in layers]):
                layers[index].precision = getattr(self._trt.DataType, _LAYER_TYPES[rule.format])

    def _load_timing_cache(self, settings: Any) -> Any:
        """Load the kept timings; those of another GPU or version of TensorRT are dropped."""
        if self._config.timing_cache is None:
            return None
        path = Path(self._config.timing_cache)
        kept = path.read_bytes() if path.is_file() else b""
        cache = settings.create_timing_cache(kept)
        if cache is None or not settings.set_timing_cache(cache, False):
            logger.warning("timing_cache=%s is not of this GPU and TensorRT, it starts anew", path)
            cache = settings.create_timing_cache(b"")
            settings.set_timing_cache(cache, False)
        return cache
