"""Opening ONNX files in ONNX Runtime, with errors that a user can act on."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from ddetr_export.onnx.session import Array, Shape

logger = logging.getLogger(__name__)

# Fastest first; the first that this build of ONNX Runtime has is used, the CPU being always there.
_PREFERRED_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxRuntimeSession:
    """A file in ONNX Runtime."""

    notices: tuple[str, ...] = ()

    def __init__(self, content: bytes, name: str, providers: Sequence[str] | None = None) -> None:
        """Load the file's bytes; arguments and errors are those of open_session."""
        self._session = open_session(content, name, providers)
        self.properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = _shapes(self._session.get_inputs())
        self.outputs = _shapes(self._session.get_outputs())
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        found: list[Array] = self._session.run(list(outputs), dict(feeds))
        return found


def open_session(
    content: bytes, name: str, providers: Sequence[str] | None = None
) -> InferenceSession:
    """Load a model in ONNX Runtime.

    Args:
        content: The bytes of an ONNX file.
        name: What errors call it.
        providers: Execution providers by name, first choice first; None takes the fastest that
            this build has, and logs which.

    Raises:
        ValueError: a provider is not in this build, or ONNX Runtime refuses the file.
    """
    silence_telemetry()
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings about its own optimiser are not ours
    chosen = _choose(providers)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=chosen)
    except (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NotImplemented,
    ) as error:
        raise ValueError(
            f"ONNX Runtime does not accept {name}: {error}; give what `ddetr export` wrote"
        ) from error
    found = session.get_providers()
    if found[0] != chosen[0]:
        logger.warning("%s did not start; %s runs on %s", chosen[0], name, found[0])
    logger.info("onnx_file=%s providers=%s", name, found)
    return session


def silence_telemetry() -> None:
    """Keep ONNX Runtime from the network; to be called before anything imports it.

    Since 1.32 it would ask for its collector and write a device id below the user's cache folder.
    Its own function for it still lets the first events out, so the variable is set as well.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()


def _shapes(values: Sequence[Any]) -> Mapping[str, Shape]:
    return {each.name: each.shape for each in values}


def _choose(wanted: Sequence[str] | None) -> list[str]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if wanted is None:
        return [name for name in _PREFERRED_PROVIDERS if name in available]
    if not wanted:
        raise ValueError("providers must name at least one execution provider, or be None")
    for name in wanted:
        if name not in available:
            raise ValueError(
                f"execution provider {name} is not in this build of ONNX Runtime, "
                f"which has {', '.join(available)}"
            )
    return list(wanted)
