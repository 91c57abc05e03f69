"""Plain float32 calls on the CPU that need nothing of PyTorch's dispatcher.

A decoder's few hundred queries are soon computed. Checks in Python and the dispatcher's own Python,
run from cold caches between two layers, would take nearly as long again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ddetr_ops import _native
from ddetr_ops.operator import ms_deform_attn_backward_operator

__all__ = ["can_call_directly", "ms_deform_attn_direct"]

_PLAIN_TYPES = (Tensor, nn.Parameter)


def can_call_directly(value: Tensor, sampling_locations: Tensor, attention_weights: Tensor) -> bool:
    """Whether nobody watches, traces or transforms the call, and nothing has to be converted."""
    return (
        not torch.compiler.is_compiling()
        and _is_plain(value)
        and _is_plain(sampling_locations)
        and _is_plain(attention_weights)
        and not torch._C._len_torch_dispatch_stack()  # make_fx, fake tensors, counters
        and not torch._C._is_tracing()
        and torch._C._functorch.peek_interpreter_stack() is None  # vmap, grad
        and not torch.is_autocast_enabled("cpu")
        and not _native.problem_on("cpu")
    )


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in _PLAIN_TYPES and tensor.dtype is torch.float32 and tensor.is_cpu


class _Call(torch.autograd.Function):
    """The native kernels as one step that can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _native.forward_cpu(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # The operator has a derivative of its own, which says that there is no second one.
        differentiable = torch.is_grad_enabled()
        run = ms_deform_attn_backward_operator if differentiable else _native.backward_cpu
        value, locations, weights = run(grad_output, *ctx.saved_tensors)
        return value, None, None, locations, weights


# What Function.apply comes to where no transform of torch.func is active.
_apply: Any = super(torch.autograd.Function, _Call).apply


def ms_deform_attn_direct(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:  # (B, Q, M*D)
    """Call the kernels; the binding alone checks what it gets.

    Raises:
        ValueError, TypeError, RuntimeError: arguments disagree; the text may not name which.
    """
    differentiable = (value, sampling_locations, attention_weights)
    needs_grad = torch.is_grad_enabled() and any(it.requires_grad for it in differentiable)
    run: Any = _apply if needs_grad else _native.forward_cpu
    output: Tensor = run(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
    return output
