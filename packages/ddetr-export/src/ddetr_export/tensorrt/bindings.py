"""TensorRT and CUDA for Python, where they are installed."""

from __future__ import annotations

from typing import Any

from ddetr_data import InstallHint, MissingExtraError, check_installed

_HINT = InstallHint("tensorrt", "ddetr-export")


def check_tensorrt(what: str) -> None:
    """Check that TensorRT's Python module is installed, without loading it.

    Args:
        what: What needs it; the error begins with this.

    Raises:
        MissingExtraError: it is not installed.
    """
    check_installed(
        "tensorrt",
        f"{what}: TensorRT is not installed, which is for machines with an NVIDIA GPU",
        _HINT,
        " there, or build the ONNX file there with trtexec",
    )


def import_tensorrt() -> Any:
    """Give the module tensorrt.

    Raises:
        MissingExtraError: it is not installed.
        ValueError: it does not load.
    """
    try:
        import tensorrt
    except ImportError as error:
        check_tensorrt("an engine")
        raise ValueError(f"TensorRT is installed but does not load: {error}") from error
    return tensorrt


def import_cuda() -> Any:
    """Give CUDA's runtime functions (cuda-python).

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise MissingExtraError("running an engine needs cuda-python", _HINT) from error
    return runtime


def major_version(trt: Any) -> int:
    """The first number of TensorRT's version."""
    return int(trt.__version__.split(".")[0])


class Cuda:
    """The few functions of CUDA's runtime that an engine needs; a failed one raises."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def choose_device(self, gpu_id: int) -> None:
        """Let all that follows in this thread use the GPU.

        Raises:
            ValueError: there is no such GPU.
        """
        (status, count) = self._runtime.cudaGetDeviceCount()
        if int(status) or gpu_id >= count:
            raise ValueError(f"gpu_id {gpu_id} is not on this machine, which has {count} GPUs")
        self._call("cudaSetDevice", gpu_id)

    def allocate(self, num_bytes: int) -> int:
        """Take GPU memory; gives its address."""
        return int(self._call("cudaMalloc", num_bytes))

    def free(self, address: int) -> None:
        """Give GPU memory back."""
        self._call("cudaFree", address)

    def upload(self, address: int, host_address: int, num_bytes: int) -> None:
        """Copy to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpy", address, host_address, num_bytes, kind)

    def download(self, host_address: int, address: int, num_bytes: int) -> None:
        """Copy from the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpy", host_address, address, num_bytes, kind)

    def create_stream(self) -> int:
        """Make a queue of work."""
        return int(self._call("cudaStreamCreate"))

    def wait(self, stream: int) -> None:
        """Return when all work in the queue is done."""
        self._call("cudaStreamSynchronize", stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, function)(*arguments)
        if int(status):
            raise RuntimeError(f"{function} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None
