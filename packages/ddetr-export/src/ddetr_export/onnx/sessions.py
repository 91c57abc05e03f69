"""Loading an ONNX file in one of its runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ddetr_export.onnx.onnxruntime_session import OnnxRuntimeSession
from ddetr_export.onnx.openvino_session import OpenVinoSession
from ddetr_export.onnx.session import Session

if TYPE_CHECKING:
    import onnx

    from ddetr_data.detection import Precision, Runtime


def session_opener(
    runtime: Runtime, precision: Precision = "fp32", providers: Sequence[str] | None = None
) -> Callable[[bytes, str], Session]:
    """Give the function that loads a file's bytes, with a name for errors, in a runtime.

    Args:
        runtime: auto is ONNX Runtime.
        precision: Of OpenVINO.
        providers: ONNX Runtime's execution providers; None is the fastest present.

    Raises:
        ValueError: the runtime has no providers.
    """
    if runtime == "openvino":
        if providers is not None:
            raise ValueError("providers are ONNX Runtime's: leave them out for runtime openvino")
        return partial(_opened, partial(OpenVinoSession, precision=precision))
    return partial(_opened, partial(OnnxRuntimeSession, providers=providers))


def _opened(load: Callable[[bytes, str], Session], content: bytes, name: str) -> Session:
    try:
        return load(content, name)
    except UnicodeDecodeError as error:  # of the runtimes' bindings to Python
        raise ValueError(f"{name} is damaged: it holds names that are no text") from error


def open_on_cpu(model: onnx.ModelProto, name: str, runtime: Runtime = "onnxruntime") -> Session:
    """Load a model on the CPU, which every machine has, in float32.

    Raises:
        ValueError: the runtime refuses it.
    """
    providers = ["CPUExecutionProvider"] if runtime == "onnxruntime" else None
    return session_opener(runtime, providers=providers)(model.SerializeToString(), name)


def loading_problem(
    model: onnx.ModelProto, name: str, runtime: Runtime = "onnxruntime"
) -> str | None:
    """Say why a runtime does not take the model; None where it does."""
    try:
        open_on_cpu(model, name, runtime)
    except ValueError as error:
        return str(error)
    return None
