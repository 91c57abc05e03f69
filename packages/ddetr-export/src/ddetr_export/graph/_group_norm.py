"""Group normalisation in the operators that the newer exporter is told to write it in.

From opset 21 on it would write GroupNormalization, whose definition takes the variance as
E[x^2] - E[x]^2. ONNX Runtime follows it and loses digits; InstanceNormalization does not.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnxscript import opset18 as op


def group_norm(
    features: Any,  # (B, C, H, W)
    num_groups: int,
    weight: Any,  # (C,)
    bias: Any,  # (C,)
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001
) -> Any:  # (B, C, H, W)
    """Normalise each group of channels by itself, then scale and shift each channel."""
    channels, height, width = features.shape[1:]
    groups = op.Reshape(features, _constant([0, num_groups, -1]))
    ones, zeros = (_constant([each] * num_groups) for each in (1.0, 0.0))
    normalised = op.InstanceNormalization(groups, ones, zeros, epsilon=eps)
    whole = op.Reshape(normalised, _constant([0, int(channels), int(height), int(width)]))
    scale, shift = (op.Reshape(each, _constant([-1, 1, 1])) for each in (weight, bias))
    return op.Add(op.Mul(whole, scale), shift)


def _constant(values: list[int] | list[float]) -> Any:
    kind = onnx.TensorProto.FLOAT if isinstance(values[0], float) else onnx.TensorProto.INT64
    return op.Constant(value=onnx.helper.make_tensor("", kind, [len(values)], values))
