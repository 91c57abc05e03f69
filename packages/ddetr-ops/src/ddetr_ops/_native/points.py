"""The CPU kernels of sampling_points: locations and weights, in front of the operator.

B images, Q queries, M heads, L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddetr_ops._native.cpu import numbers
from ddetr_ops._native.library import array, core, memory_like


def points_cpu(
    *arguments: Tensor,  # reference_points (B, Q, L, 2 or 4), offsets (B, Q, M, L, P, 2), logits
) -> tuple[Tensor, ...]:
    """Locations from offsets and weights (B, Q, M, L, P) from logits."""
    *tensors, spatial_shapes = arguments
    inputs = [tensor.contiguous() for tensor in tensors]
    return _call(core.points, inputs, spatial_shapes, memory_like(inputs[1:], inputs))


def points_backward_cpu(
    *arguments: Tensor,  # gradients of locations and weights, reference_points, offsets, weights
) -> tuple[Tensor, ...]:
    """Gradients of points (B or 1, Q, L, 2 or 4), offsets (B, Q, M, L, P, 2) and logits."""
    *tensors, spatial_shapes = arguments
    inputs = [tensor.contiguous() for tensor in tensors]
    return _call(core.points_backward, inputs, spatial_shapes, memory_like(inputs[2:], inputs))


def _call(
    kernel: Callable[..., None],
    inputs: list[Tensor],
    spatial_shapes: Tensor,  # (L, 2)
    outputs: list[Tensor],
) -> tuple[Tensor, ...]:
    sizes = numbers("spatial_shapes", spatial_shapes)
    kernel(*map(array, inputs), sizes, *map(array, outputs), torch.get_num_threads())
    return tuple(outputs)
