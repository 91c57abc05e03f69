"""Reading an ONNX model's operator set and the sizes of its values."""

from __future__ import annotations

from typing import Any

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


def sizes_of(value: onnx.ValueInfoProto) -> list[Any]:
    """The sizes of a value's axes; a free one is its name, which may be empty."""
    return [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
