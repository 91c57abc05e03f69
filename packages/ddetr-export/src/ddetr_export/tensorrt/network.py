"""A TensorRT engine behind the protocol that a detector runs.

It has run only against a fake that is made from the real Python bindings of 8.6.1 to 11.4.0: no
machine with TensorRT was at hand.

B images of one run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddetr_export.onnx import Array, check_signature, read_model
from ddetr_export.tensorrt._engine_notes import read_notes
from ddetr_export.tensorrt.bindings import Cuda, import_cuda, import_tensorrt


@dataclass
class EngineNetwork:
    """An engine of `build_engine`, on the GPU."""

    path: Path
    encryption_key: str | None = field(default=None, repr=False)
    trt: Any = None  # the module tensorrt; None imports it
    cuda: Cuda | None = None

    def __post_init__(self) -> None:
        """Load the engine.

        Raises:
            FileNotFoundError: there is no such file, or its notes are missing.
            ValueError: TensorRT is missing, or refuses the engine; the key does not open it.
        """
        content = read_model(self.path, self.encryption_key, "TensorRT engine")
        notes = read_notes(self.path, self.encryption_key)
        self.metadata = notes.metadata
        self.trt = self.trt or import_tensorrt()
        self.cuda = self.cuda or Cuda(import_cuda())
        self._logger = self.trt.Logger(self.trt.Logger.WARNING)
        self.trt.init_libnvinfer_plugins(self._logger, "")
        self._engine = self.trt.Runtime(self._logger).deserialize_cuda_engine(content)
        if self._engine is None:
            raise ValueError(
                f"TensorRT {self.trt.__version__} does not accept {self.path}, which was built "
                f"with {notes.tensorrt_version}; an engine runs only where it was built"
            )
        self._context = self._engine.create_execution_context()
        self._names = [
            self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)
        ]
        is_input = {name: self._is_input(name) for name in self._names}
        self.outputs = tuple(name for name in self._names if not is_input[name])
        selects = "scores" in self.outputs
        self.kept = int(self._engine.get_tensor_shape("scores")[1]) if selects else None
        shape = self._engine.get_tensor_shape("inputs") if is_input.get("inputs") else None
        known = None if shape is None else tuple(shape)
        check_signature(self.path, known, self.outputs, self.metadata)
        least, self.usual_batch, most = batch_profile(self._engine)
        self.batch_sizes: tuple[int, int | None] = (least, most)
        self.providers: tuple[str, ...] = (f"TensorRT {self.trt.__version__}",)
        self.notices: tuple[str, ...] = ()
        self._buffers: dict[str, tuple[int, int]] = {}  # address and bytes, by tensor
        self._stream = self.cuda.create_stream()
        self._lock = threading.Lock()  # a context runs one batch at a time

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        with self._lock:
            return self._run(feeds, outputs)

    def _run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        assert self.cuda is not None
        for name, array in feeds.items():
            contiguous = np.ascontiguousarray(array, self._dtype(name))
            self._context.set_input_shape(name, contiguous.shape)
            self.cuda.upload(
                self._address(name, contiguous.nbytes), contiguous.ctypes.data, contiguous.nbytes
            )
        results = {
            name: np.empty(tuple(self._context.get_tensor_shape(name)), self._dtype(name))
            for name in self.outputs
        }
        for name, array in results.items():
            self._address(name, array.nbytes)
        for name in self._names:
            self._context.set_tensor_address(name, self._address(name))
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeError(f"TensorRT could not run {self.path}; its log says why")
        self.cuda.wait(self._stream)
        for name in outputs:
            array = results[name]
            self.cuda.download(array.ctypes.data, self._address(name), array.nbytes)
        return [results[name] for name in outputs]

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT)

    def _dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.trt.nptype(self._engine.get_tensor_dtype(name)))
        return dtype

    def _address(self, name: str, num_bytes: int = 0) -> int:
        """GPU memory for a tensor, at least as large as asked; it grows with a larger batch."""
        assert self.cuda is not None
        address, held = self._buffers.get(name, (0, 0))
        if held < num_bytes:
            if address:
                self.cuda.free(address)
            address = self.cuda.allocate(num_bytes)
            self._buffers[name] = address, num_bytes
        return address


def batch_profile(engine: Any) -> tuple[int, int, int]:
    """Least, best and most images of a run, as the engine itself says."""
    least, best, most = engine.get_tensor_profile_shape("inputs", 0)
    return int(least[0]), int(best[0]), int(most[0])
