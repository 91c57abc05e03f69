"""The operator's kernels on the CPU, on as many threads as torch uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddetr_ops._native.library import Inputs, core, memory_like


def forward_cpu(*arguments: Tensor) -> Tensor:  # (B, Q, M*D)
    """Sample and sum, (B, Q, M * D); the arguments are the operator's."""
    return _contiguous(*arguments).forward(core.forward, torch.get_num_threads())


def backward_cpu(grad_output: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    """Gradients of value (B, S, M, D), locations and weights, each in its own shape."""
    inputs = _contiguous(*arguments)
    gradients = memory_like(inputs.tensors, inputs.tensors)
    threads = torch.get_num_threads()
    return inputs.backward(core.backward, grad_output.contiguous(), gradients, threads)


def forward_tensors(*arguments: Tensor | None) -> Tensor | None:
    """Do as forward_cpu, (B, Q, M * D), with tensors read where they are, in few Python calls.

    None, with nothing done, for any that are no plain contiguous tensors in the CPU's memory, and
    for what disagrees.
    """
    return core.forward_tensors(*arguments, torch.get_num_threads())


def backward_tensors(*arguments: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Do as backward_cpu from a gradient (B, Q, M * D), under forward_tensors' conditions."""
    return core.backward_tensors(*arguments, torch.get_num_threads())


def numbers(name: str, tensor: Tensor) -> list[Any]:
    """Sizes (L, 2) or starts (L,) of the levels as a list.

    Raises:
        TypeError: they are no whole numbers.
    """
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"{name} must be int64, got {tensor.dtype}")
    found: list[Any] = tensor.tolist()
    return found


def _contiguous(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
) -> Inputs:
    return Inputs(
        value.contiguous(),
        numbers("spatial_shapes", shapes),
        numbers("level_start_index", starts),
        locations.contiguous(),
        weights.contiguous(),
    )
