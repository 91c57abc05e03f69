"""The operator torch.ops.ddetr_ops.ms_deform_attn: schema, kernels, shapes, derivative, autocast.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddetr_ops._native import backward_cpu, backward_cuda, forward_cpu, forward_cuda
from ddetr_ops._registration import new_like, register, without_derivative

_INPUTS = (
    "Tensor value, Tensor spatial_shapes, Tensor level_start_index, "
    "Tensor sampling_locations, Tensor attention_weights"
)
_TAGS = (torch.Tag.needs_fixed_stride_order,)


def _fake_forward(value: Tensor, *rest: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    queries = rest[2].shape[1]  # of sampling_locations
    return value.new_empty(batch, queries, heads * channels)


def _keep_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ms_deform_attn_backward_operator(grad_output, *ctx.saved_tensors)
    return value, None, None, locations, weights


def _autocast(
    value: Tensor,  # (B, S, M, D) in the dtype that its projection chose
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:
    """Keep value as it is and widen 16-bit locations and weights: their rounding costs 14 %."""
    wide = torch.promote_types(value.dtype, torch.float32)
    with torch.amp.autocast(value.device.type, enabled=False):
        output: Tensor = ms_deform_attn_operator(
            value,
            spatial_shapes,
            level_start_index,
            sampling_locations.to(wide),
            attention_weights.to(wide),
        )
    return output


ms_deform_attn_operator = register(
    f"ms_deform_attn({_INPUTS}) -> Tensor",
    fake=_fake_forward,
    differentiate=_differentiate,
    keep=_keep_inputs,
    unbatched={1: "spatial_shapes", 2: "level_start_index"},
    kernels={
        "CPU": forward_cpu,
        "CUDA": forward_cuda,
        "AutocastCPU": _autocast,
        "AutocastCUDA": _autocast,
    },
    tags=_TAGS,
)
ms_deform_attn_backward_operator = register(
    f"ms_deform_attn_backward(Tensor grad_output, {_INPUTS}) -> (Tensor, Tensor, Tensor)",
    fake=new_like(1, 4, 5),
    differentiate=without_derivative(
        "ms_deform_attn has no second derivative in its native kernels: pass backend='reference'"
    ),
    unbatched={2: "spatial_shapes", 3: "level_start_index"},
    kernels={"CPU": backward_cpu, "CUDA": backward_cuda},
    tags=_TAGS,
)
