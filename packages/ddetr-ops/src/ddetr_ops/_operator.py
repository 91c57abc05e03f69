"""The operator torch.ops.ddetr_ops.ms_deform_attn: schema, kernels, shapes, derivative, autocast.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddetr_ops import _native
from ddetr_ops._functorch import support_transforms

__all__ = ["ms_deform_attn_backward_operator", "ms_deform_attn_operator"]

_INPUTS = (
    "Tensor value, Tensor spatial_shapes, Tensor level_start_index, "
    "Tensor sampling_locations, Tensor attention_weights"
)
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
_AUTOCAST_KEYS = ("AutocastCPU", "AutocastCUDA")

# torch.library is untyped.
_library: Any = torch.library
_fragment = _library.Library("ddetr_ops", "DEF")
_fragment.define(f"ms_deform_attn({_INPUTS}) -> Tensor", tags=_TAGS)
_fragment.define(
    f"ms_deform_attn_backward(Tensor grad_output, {_INPUTS}) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)

ms_deform_attn_operator: Any = torch.ops.ddetr_ops.ms_deform_attn.default
ms_deform_attn_backward_operator: Any = torch.ops.ddetr_ops.ms_deform_attn_backward.default


def _fake_forward(value: Tensor, *rest: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    queries = rest[2].shape[1]  # of sampling_locations
    return value.new_empty(batch, queries, heads * channels)


def _fake_backward(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _, value, _, _, sampling_locations, attention_weights = inputs
    return (
        value.new_empty(value.shape),
        sampling_locations.new_empty(sampling_locations.shape),
        attention_weights.new_empty(attention_weights.shape),
    )


def _keep_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ms_deform_attn_backward_operator(grad_output, *ctx.saved_tensors)
    return value, None, None, locations, weights


def _refuse(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG001
    raise RuntimeError(
        "ms_deform_attn has no second derivative in its native kernels: pass backend='reference'"
    )


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


_library.register_fake("ddetr_ops::ms_deform_attn", _fake_forward, lib=_fragment)
_library.register_fake("ddetr_ops::ms_deform_attn_backward", _fake_backward, lib=_fragment)
_library.register_autograd(
    "ddetr_ops::ms_deform_attn", _differentiate, setup_context=_keep_inputs, lib=_fragment
)
_library.register_autograd("ddetr_ops::ms_deform_attn_backward", _refuse, lib=_fragment)
support_transforms(
    _fragment,
    ms_deform_attn_operator,
    differentiate=_differentiate,
    keep=_keep_inputs,
    shared=(1, 2),
)
support_transforms(
    _fragment, ms_deform_attn_backward_operator, differentiate=_refuse, shared=(2, 3)
)
for _key in _AUTOCAST_KEYS:
    _fragment.impl("ms_deform_attn", _autocast, _key)
if not _native.problem_on("cpu"):
    _fragment.impl("ms_deform_attn", _native.forward_cpu, "CPU")
    _fragment.impl("ms_deform_attn_backward", _native.backward_cpu, "CPU")
    _fragment.impl("ms_deform_attn", _native.forward_cuda, "CUDA")
    _fragment.impl("ms_deform_attn_backward", _native.backward_cuda, "CUDA")
