"""A stand-in for TensorRT and CUDA: it notes what the builder is told, and its engines compute.

An engine of this fake is the ONNX file that the parser was given, run by ONNX Runtime; GPU memory
is the process's own. The real TensorRT never ran with these packages, but its bindings were read:
`tensorrt_api/` says what each version has, and is made by `make proof-tensorrt`.
"""

from __future__ import annotations

import ctypes
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import onnxruntime

API = Path(__file__).with_name("tensorrt_api")


def api_of(version: str) -> dict[str, Any]:
    """What a version's bindings have of what the adapter takes; of the next older one described."""
    wanted = _numbers(version)
    described = sorted((_numbers(path.stem), path) for path in API.glob("*.json"))
    same = [pair for pair in described if pair[0][0] == wanted[0]]
    older = [pair for pair in same if pair[0] <= wanted]
    api: dict[str, Any] = json.loads((older or same[:1])[-1][1].read_text("utf-8"))
    return api


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def make_tensorrt(version: str) -> MagicMock:
    """Make a module tensorrt of that version, whose objects note what is done to them.

    It has the classes, methods and enum members that the version's bindings have, and no others; a
    call that fits none of a method's overloads is a TypeError.
    """
    api = api_of(version)
    names = [name for kind in ("functions", "classes", "enums") for name in api[kind]]
    trt = MagicMock(name="tensorrt", spec=[*names, "layers"])
    trt.__version__ = version
    for name, function in api["functions"].items():
        setattr(trt, name, Checked.of(name, function))
    for name, members in api["enums"].items():
        setattr(trt, name, SimpleNamespace(**members))
    made: dict[str, Any] = {}
    for name, members in api["classes"].items():
        setattr(trt, name, _class_of(name, members, api, made))
    trt.nptype.side_effect = np.dtype
    trt.layers = [_layer(api, name) for name in ("conv1", "norm1")]
    trt.layers.append(_layer(api, "attention", trt.LayerType.PLUGIN_V2))
    network = trt.Builder.return_value.create_network.return_value
    network.num_inputs = 1
    network.get_input.return_value = SimpleNamespace(name="inputs", shape=(-1, 3, 24, 32))
    network.num_layers, network.get_layer.side_effect = len(trt.layers), trt.layers.__getitem__
    trt.Builder.return_value.build_serialized_network.side_effect = lambda *_: parsed(trt)
    settings = trt.Builder.return_value.create_builder_config.return_value
    settings.create_timing_cache.return_value.serialize.return_value = b"timings"
    trt.Runtime.return_value.deserialize_cuda_engine.side_effect = lambda content: Engine(
        content, profile_of(trt), trt.TensorIOMode.INPUT
    )
    return trt


class Checked(MagicMock):
    """A function or a class that takes what one of its overloads takes."""

    @classmethod
    def of(cls, name: str, function: Mapping[str, Any], **more: Any) -> Checked:
        """Make one of a function's description."""
        made = cls(name=name, **more)
        made.overloads = [signature_of(each) for each in function["overloads"]]
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        overloads = self.__dict__.get("overloads")  # None: a mock's own child, such as __str__
        if overloads is not None and not any(fits(each, args, kwargs) for each in overloads):
            name = self._extract_mock_name()
            raise TypeError(f"{name} takes no such arguments: {args} {kwargs}")
        return super().__call__(*args, **kwargs)


def signature_of(parameters: Sequence[str]) -> inspect.Signature:
    """The signature of names, of which those that end in "=" may be left out."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(name.rstrip("="), kind, default=None if "=" in name else empty)
            for name in parameters
        ]
    )


def fits(signature: inspect.Signature, args: Any, kwargs: Any) -> bool:
    """Whether a call could be one of the signature's."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _class_of(name: str, members: Any, api: Any, made: dict[str, Any]) -> Checked:
    constants = [each for each, kind in members["properties"].items() if kind == "constant"]
    init = members["methods"]["__init__"]
    kind = Checked.of(name, init, spec=[*constants, "overloads"])
    kind.return_value = _instance_of(name, api, made)
    return kind


def _instance_of(name: str, api: Any, made: dict[str, Any]) -> Any:
    """The one object of a class; what its methods give are the objects of other classes."""
    if name in made:
        return made[name]
    members = api["classes"][name]
    methods = {each: entry for each, entry in members["methods"].items() if each != "__init__"}
    made[name] = instance = MagicMock(name=name, spec_set=[*methods, *members["properties"]])
    for each, entry in methods.items():
        method = Checked.of(f"{name}.{each}", entry)
        if entry["returns"]:
            method.return_value = _instance_of(entry["returns"], api, made)
        setattr(instance, each, method)
    return instance


def _layer(api: Any, name: str, kind: int = -1) -> Any:
    """A layer that has no attribute but those of the version's."""
    properties = api["classes"]["ILayer"]["properties"]
    layer: Any = type("ILayer", (), {"__slots__": tuple(properties)})()
    layer.name, layer.type = name, kind
    if "precision" in properties:
        layer.precision = None
    return layer


def parsed(trt: MagicMock) -> bytes:
    """The ONNX bytes that the parser was given last."""
    (content,) = trt.OnnxParser.return_value.parse.call_args.args
    return bytes(content)


def profile_of(trt: MagicMock) -> list[tuple[int, ...]]:
    """Least, best and largest shape that the builder was told; one image where it was not."""
    call = trt.Builder.return_value.create_optimization_profile.return_value.set_shape.call_args
    return list(call.args[1:]) if call else [(1, 3, 24, 32)] * 3


class Engine:
    def __init__(self, content: bytes, profile: list[tuple[int, ...]], input_mode: int) -> None:
        self._session = onnxruntime.InferenceSession(content)
        self._profile, self._input_mode = profile, input_mode
        tensors = (*self._session.get_inputs(), *self._session.get_outputs())
        self._shapes = {
            each.name: tuple(n if isinstance(n, int) else -1 for n in each.shape)
            for each in tensors
        }
        self._inputs = [each.name for each in self._session.get_inputs()]
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._shapes)[index]

    def get_tensor_mode(self, name: str) -> int:
        return self._input_mode if name in self._inputs else -1

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def get_tensor_dtype(self, name: str) -> str:
        return "int32" if name == "labels" else "float32"

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert (name, index) == ("inputs", 0)
        return self._profile

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine._profile
        assert least[0] <= shape[0] <= most[0], f"batch {shape[0]} is outside the profile"
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = self._shapes["inputs"][0]
        return self._shapes.get(name, (batch, *self._engine.get_tensor_shape(name)[1:]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, _stream: int) -> bool:
        feeds = {name: self._memory(name).copy() for name in self._engine._inputs}
        names = [each for each in self._engine._shapes if each not in feeds]
        results = self._engine._session.run(names, feeds)
        for name, result in zip(names, results, strict=True):
            self._memory(name)[...] = result
        return True

    def _memory(self, name: str) -> np.ndarray:
        shape, dtype = self.get_tensor_shape(name), np.dtype(self._engine.get_tensor_dtype(name))
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * num_bytes).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class CudaRuntime:
    """cuda.bindings.runtime on the process's own memory; every call gives a status first."""

    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2
    )

    def __init__(self, gpus: int = 1) -> None:
        self._gpus = gpus
        self._memory: dict[int, ctypes.Array] = {}
        self.device = 0

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802
        return 0, self._gpus

    def cudaSetDevice(self, device: int) -> tuple[int]:  # noqa: N802
        self.device = device
        return (0,)

    def cudaMalloc(self, num_bytes: int) -> tuple[int, int]:  # noqa: N802
        memory = (ctypes.c_char * num_bytes)()
        self._memory[ctypes.addressof(memory)] = memory
        return 0, ctypes.addressof(memory)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self._memory[address]
        return (0,)

    def cudaMemcpy(self, target: int, source: int, num_bytes: int, _kind: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(target, source, num_bytes)
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        return 0, 7

    def cudaStreamSynchronize(self, _stream: int) -> tuple[int]:  # noqa: N802
        return (0,)
