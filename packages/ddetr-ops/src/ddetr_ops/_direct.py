"""Calls on the CPU that need nothing of PyTorch's dispatcher.

A decoder's few hundred queries are soon computed. Checks in Python and the dispatcher's own Python,
run from cold caches between two layers, would take nearly as long again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddetr_ops._arguments import SpatialShapes, check_levels
from ddetr_ops._levels import PLAIN_CLASSES, level_tensors
from ddetr_ops._native import READS_TENSORS, backward_tensors, forward_tensors, problem_on
from ddetr_ops._operator import ms_deform_attn_backward_operator
from ddetr_ops._torch_private import MISSING_WATCHERS, nobody_watches

# What direct calls need of PyTorch and this one lacks.
MISSING = MISSING_WATCHERS + (() if READS_TENSORS else ("torch.Tensor.__dlpack_c_exchange_api__",))
_IS_POSSIBLE = not MISSING and not problem_on("cpu")


def can_call_directly(value: Tensor) -> bool:
    """Whether value is a plain CPU tensor, and no mode, trace or transform must see the call."""
    return _IS_POSSIBLE and nobody_watches() and type(value) in PLAIN_CLASSES and value.is_cpu


class _Call(torch.autograd.Function):
    """The native kernels as one step that can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor | None:
        output = forward_tensors(*inputs)
        if output is not None:
            ctx.save_for_backward(*inputs)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        inputs = (grad_output, *ctx.saved_tensors)
        # The operator's own derivative says that there is no second one.
        gradients = None if torch.is_grad_enabled() else backward_tensors(*inputs)
        value, locations, weights = gradients or ms_deform_attn_backward_operator(*inputs)
        return value, None, None, locations, weights


# What Function.apply comes to where no transform of torch.func is active.
_apply: Any = getattr(super(torch.autograd.Function, _Call), "apply", _Call.apply)


def ms_deform_attn_direct(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor | None:  # (B, Q, M*D)
    """Call the kernels; None where a tensor must be copied first, or the sizes disagree."""
    levels: tuple[Any, Any] = (spatial_shapes, level_start_index)
    if not isinstance(spatial_shapes, Tensor):
        if type(sampling_locations) not in PLAIN_CLASSES or sampling_locations.dim() != 6:
            return None
        check_levels(*levels, sampling_locations.shape[3], value.device)
        levels = level_tensors(*levels, value)
    run: Any = _apply if torch.is_grad_enabled() else forward_tensors
    output: Tensor | None = run(value, *levels, sampling_locations, attention_weights)
    return output
