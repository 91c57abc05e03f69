"""Calls on the CPU that need nothing of PyTorch's dispatcher.

A decoder's few hundred queries are soon computed. Checks in Python and the dispatcher's own Python,
run from cold caches between two layers, would take nearly as long again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

from ddetr_ops import _native
from ddetr_ops._operator import ms_deform_attn_backward_operator

__all__ = ["can_call_directly", "ms_deform_attn_direct"]


_IS_BUILT = not _native.problem_on("cpu")


def can_call_directly() -> bool:
    """Whether nobody watches, traces or transforms the calls of this moment."""
    return _IS_BUILT and not (
        is_dynamo_compiling()
        or _C._len_torch_dispatch_stack()  # make_fx, fake tensors, counters
        or _C._is_tracing()
        or _C._are_functorch_transforms_active()  # vmap, grad
        or _C._is_any_autocast_enabled()
        or forward_ad._current_level >= 0  # dual tensors
    )


class _Call(torch.autograd.Function):
    """The native kernels as one step that can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor | None:
        output = _native.forward_tensors(*inputs)
        if output is not None:
            ctx.save_for_backward(*inputs)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        inputs = (grad_output, *ctx.saved_tensors)
        # The operator's own derivative says that there is no second one.
        gradients = None if torch.is_grad_enabled() else _native.backward_tensors(*inputs)
        value, locations, weights = gradients or ms_deform_attn_backward_operator(*inputs)
        return value, None, None, locations, weights


# What Function.apply comes to where no transform of torch.func is active.
_apply: Any = super(torch.autograd.Function, _Call).apply


def ms_deform_attn_direct(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor | None:  # (B, Q, M*D)
    """Call the kernels; None if they cannot read the arguments as they are, or these disagree."""
    run: Any = _apply if torch.is_grad_enabled() else _native.forward_tensors
    output: Tensor | None = run(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
    return output
