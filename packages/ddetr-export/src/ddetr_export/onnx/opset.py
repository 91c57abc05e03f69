"""The version of the standard operators that a model uses."""

from __future__ import annotations

import onnx


def standard_opset(model: onnx.ModelProto) -> int:
    """Read the opset of the default domain, under either of its two names.

    Raises:
        ValueError: the model imports none.
    """
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx"):
            return int(each.version)
    raise ValueError("the model imports no standard operators")
