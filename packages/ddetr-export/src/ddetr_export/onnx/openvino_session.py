"""An ONNX file in OpenVINO, on the CPU."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddetr_export.onnx._openvino_float32 import keep_float32
from ddetr_export.onnx.model_file import ONNX_START
from ddetr_export.onnx.runtimes import check_openvino

if TYPE_CHECKING:
    from ddetr_data.detection import Precision
    from ddetr_export.onnx.session import Array, Shape

logger = logging.getLogger(__name__)

_LEFT_OUT = ("openvino_telemetry", "absl")  # of what its import would load
_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # as OpenVINO calls them
# Threads that are bound to a core each wait for whatever else runs there.
_OPTIONS = {"ENABLE_CPU_PINNING": False}
# The entry of a tensor whose numbers are in another file, as protobuf writes it.
_ELSEWHERE = b"\x0a\x08location\x12"
# What OpenVINO's errors say of its own sources.
_SOURCES = re.compile(r"(Exception from|Check '.*' failed at) \S+:\d+:?")
_TELLING_LENGTH = 300


class OpenVinoSession:
    """A file in OpenVINO, behind the protocol of a runtime."""

    def __init__(self, content: bytes, name: str, precision: Precision = "fp32") -> None:
        """Load and compile the file's bytes; nothing is written, to no cache either.

        Args:
            content: The bytes of an ONNX file.
            name: What errors call it.
            precision: Of products and convolutions. One that the processor lacks is replaced by
                OpenVINO, which a notice says; its own choice would be the lowest there is.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            ValueError: OpenVINO refuses the file, or it is not whole.
        """
        if not content.startswith(ONNX_START):
            raise ValueError(f"OpenVINO does not accept {name}: it is no ONNX file")
        if _ELSEWHERE in content:
            raise ValueError(f"OpenVINO does not accept {name}: its weights are in other files")
        openvino = import_openvino()
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": _TYPES[precision], **_OPTIONS}
        try:
            model = core.read_model(content)
            if _has_nan(model):  # its Relu makes 0 of NaN, and answers would look like answers
                raise ValueError(f"OpenVINO does not accept {name}: its weights hold NaN")
            if precision != "fp32":
                keep_float32(core, model)
            self._compiled = core.compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO does not accept {name}: {_reason(error)}") from error
        self.properties = _properties(model)
        self.inputs = _shapes(model.inputs)
        self.outputs = _shapes(model.outputs)
        self._lock = threading.Lock()  # it has the memory of one run
        kind = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        used = next((ours for ours, theirs in _TYPES.items() if theirs == kind), kind)
        version = openvino.__version__.partition("-")[0]
        self.providers: tuple[str, ...] = (f"OpenVINO {version} (CPU, {used})",)
        self.notices: tuple[str, ...] = ()
        if used != precision:
            self.notices = (
                f"OpenVINO has no {precision} on this processor and runs {name} in {used}",
            )
        logger.info("onnx_file=%s runtime=openvino precision=%s", name, used)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        with self._lock:
            found = self._compiled(dict(feeds))
            return [found[name] for name in outputs]


def import_openvino() -> Any:
    """Give the module openvino, kept from the network and from other people's streams.

    Its own import reports itself to a collector, writes an id into the home folder and may ask the
    person who waits. It also loads absl where that is installed, which then closes what was
    sys.stderr at that time when logging is set up anew. It does without both where they are not.

    Raises:
        MissingExtraError: it is not installed.
        ValueError: it does not load.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in _LEFT_OUT if modules.setdefault(name, None) is None]
    try:
        import openvino
    except ImportError as error:
        check_openvino("runtime openvino")
        raise ValueError(f"OpenVINO is installed but does not load: {error}") from error
    finally:
        for name in hidden:
            modules.pop(name, None)
    return openvino


def _has_nan(model: Any) -> bool:
    weights = (node.data for node in model.get_ops() if node.get_type_name() == "Constant")
    return any(bool(np.isnan(each).any()) for each in weights if each.dtype.kind == "f")


def _properties(model: Any) -> Mapping[str, str]:
    """The file's metadata_props, which OpenVINO keeps under a name of its own."""
    key = ["framework"]
    found = model.get_rt_info(key).value if model.has_rt_info(key) else {}
    return {name: str(value) for name, value in found.items()}


def _shapes(ports: Sequence[Any]) -> Mapping[str, Shape]:
    """Shapes by each of the names that a tensor has; None for an axis of any size."""
    return {
        name: [axis.get_length() if axis.is_static else None for axis in port.partial_shape]
        for port in ports
        for name in port.get_names()
    }


def _reason(error: RuntimeError) -> str:
    """What OpenVINO says, in one line and without the lines of its sources."""
    from ddetr_export.onnx.plugin_fallback import PLUGIN_OP

    if PLUGIN_OP in str(error):
        return (
            "its attention is a TensorRT plugin; export with on_cpu=true, or rewrite the file by "
            "`ddetr export --to-standard`"
        )
    words = " ".join(_SOURCES.sub("", str(error)).split())
    return words[:_TELLING_LENGTH] or "it gives no reason"
