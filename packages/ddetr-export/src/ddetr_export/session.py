"""Opening ONNX files in ONNX Runtime, with errors that a user can act on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

# Fastest first; the first that this build of ONNX Runtime has is used, the CPU being always there.
_PREFERRED_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def open_session(path: Path, providers: Sequence[str] | None = None) -> InferenceSession:
    """Load the file in ONNX Runtime.

    Args:
        path: The ONNX file.
        providers: Execution providers by name, first choice first; None takes the fastest that
            this build has, and logs which.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a provider is not in this build, or ONNX Runtime refuses the file.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}; write one with `ddetr export`")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings about its own optimiser are not ours
    try:
        session = onnxruntime.InferenceSession(path, options, providers=_choose(providers))
    except (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NotImplemented,
    ) as error:
        raise ValueError(f"ONNX Runtime does not accept {path}: {error}") from error
    logger.info("onnx_file=%s providers=%s", path, session.get_providers())
    return session


def _choose(wanted: Sequence[str] | None) -> list[str]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if wanted is None:
        return [name for name in _PREFERRED_PROVIDERS if name in available]
    for name in wanted:
        if name not in available:
            raise ValueError(
                f"execution provider {name} is not in this build of ONNX Runtime, "
                f"which has {', '.join(available)}"
            )
    return list(wanted)
