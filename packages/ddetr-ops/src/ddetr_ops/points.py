"""Sampling locations and attention weights from the layer's projections, in one pass over memory.

B images, Q queries, M heads, L feature levels, P sampling points a level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddetr_ops._arguments import SpatialShapes, check_point_arguments
from ddetr_ops._functorch import refuse_tangents
from ddetr_ops._native import points_backward_cpu, points_cpu, problem_on
from ddetr_ops._registration import new_like, register, without_derivative

_INPUTS = "Tensor reference_points, Tensor sampling_offsets, Tensor {}, Tensor spatial_shapes"


def sampling_points(
    reference_points: Tensor,  # (B or 1, Q, L, 2) x y, or (B or 1, Q, L, 4) cx cy w h; 0 to 1
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2) pixels, or with boxes P-ths of half a box
    attention_logits: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: SpatialShapes,  # (L, 2) int64, height then width
) -> tuple[Tensor, Tensor]:
    """Locations reference + offset, and weights softmax(logits) over L and P (equations 2 and 3).

    On the CPU one native pass does both and one their derivative, in float32. Elsewhere, in
    float64 and without the native part it is `sampling_points_reference`, which compilers fuse.

    Returns:
        sampling_locations (B, Q, M, L, P, 2) and attention_weights (B, Q, M, L, P), float32, or
        float64 if the offsets are.

    Raises:
        ValueError: a shape disagrees with the others; the text names the argument.
        TypeError: an argument is no tensor, or no numbers of the kind that is wanted.
    """
    arguments = (reference_points, sampling_offsets, attention_logits)
    if not torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        check_point_arguments(*arguments, spatial_shapes)
    dtype = torch.promote_types(sampling_offsets.dtype, torch.float32)
    native = not problem_on("cpu") and dtype == torch.float32
    if not native or reference_points.device.type != "cpu":
        return sampling_points_reference(*arguments, spatial_shapes)
    refuse_tangents("sampling_points", *arguments)
    # One image's serve the whole batch, as in plain PyTorch; sizes stay symbols when exported.
    if reference_points.shape[0] == 1:
        reference_points = reference_points.expand(sampling_offsets.shape[0], -1, -1, -1)
        arguments = (reference_points, sampling_offsets, attention_logits)
    shapes = torch.as_tensor(spatial_shapes, dtype=torch.int64)
    locations, weights = _operator(*(tensor.to(dtype) for tensor in arguments), shapes)
    return locations, weights


def sampling_points_reference(
    reference_points: Tensor,  # (B, Q, L, 2 or 4)
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2)
    attention_logits: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: SpatialShapes,  # (L, 2)
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch.

    Returns:
        sampling_locations (B, Q, M, L, P, 2) and attention_weights (B, Q, M, L, P).

    Raises:
        ValueError: reference_points has another last size than 2 or 4.
    """
    dtype = torch.promote_types(sampling_offsets.dtype, torch.float32)
    offsets, logits = sampling_offsets.to(dtype), attention_logits.to(dtype)
    points = reference_points.to(dtype)[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 or 4)
    weights = logits.flatten(3).softmax(-1).reshape(logits.shape)
    if points.shape[-1] == 2:
        shapes = torch.as_tensor(spatial_shapes, device=offsets.device)
        sizes_wh = shapes.flip(-1)[:, None].to(dtype)  # (L, 1, 2)
        return points + offsets / sizes_wh, weights
    if points.shape[-1] == 4:
        half_sizes = points[..., 2:] * 0.5
        return points[..., :2] + offsets / offsets.shape[4] * half_sizes, weights
    raise ValueError(
        f"reference_points must end in 2 (x, y) or 4 (cx, cy, w, h), got {points.shape[-1]}"
    )


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    references, offsets, _, shapes = inputs
    ctx.save_for_backward(references, offsets, output[1], shapes)


def _differentiate(
    ctx: Any, grad_locations: Tensor, grad_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, None]:
    references, offsets, logits = _backward_operator(
        grad_locations, grad_weights, *ctx.saved_tensors
    )
    return references, offsets, logits, None


_operator = register(
    f"sampling_points({_INPUTS.format('attention_logits')}) -> (Tensor, Tensor)",
    fake=new_like(1, 2),
    differentiate=_differentiate,
    keep=_keep,
    unbatched={3: "spatial_shapes"},
    kernels={"CPU": points_cpu},
)
_backward_operator = register(
    "sampling_points_backward(Tensor grad_locations, Tensor grad_weights, "
    f"{_INPUTS.format('attention_weights')}) -> (Tensor, Tensor, Tensor)",
    fake=new_like(2, 3, 4),
    differentiate=without_derivative(
        "sampling_points has no second derivative: call sampling_points_reference"
    ),
    unbatched={5: "spatial_shapes"},
    kernels={"CPU": points_backward_cpu},
)
