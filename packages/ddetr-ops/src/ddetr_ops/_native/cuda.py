"""The operator's kernels on CUDA: on value's device and torch's current stream, without waiting."""

from __future__ import annotations

import torch
from torch import Tensor

from ddetr_ops._native.kernels import choice
from ddetr_ops._native.library import Inputs, core, memory_like

_VECTOR_BYTES = 16  # of the kernels' loads


def forward_cuda(*arguments: Tensor) -> Tensor:  # (B, Q, M*D)
    """Sample and sum, (B, Q, M * D); the arguments are the operator's."""
    inputs = _aligned_inputs(*arguments)
    return inputs.forward(core.forward_cuda, *_where(inputs.value), choice.cuda_tiles)


def backward_cuda(grad_output: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    """Gradients of one of (B, Q, M * D), each in its tensor's own shape.

    A slow kernel computes them where torch.use_deterministic_algorithms asks for it.
    """
    inputs = _aligned_inputs(*arguments)
    value_sums = torch.zeros_like(inputs.value, dtype=torch.float32)
    of_value, *of_points = inputs.backward(
        core.backward_cuda,
        _aligned(grad_output),
        [value_sums, *memory_like(inputs.tensors[1:], inputs.tensors)],
        *_where(inputs.value),
        choice.cuda_tiles,
        torch.are_deterministic_algorithms_enabled(),
    )
    return of_value.to(inputs.value.dtype), *of_points


def _aligned_inputs(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
) -> Inputs:
    shapes, starts = (it.to(value.device, torch.int64).contiguous() for it in (shapes, starts))
    return Inputs(_aligned(value), shapes, starts, _aligned(locations), _aligned(weights))


def _aligned(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % _VECTOR_BYTES == 0 else tensor.clone()


def _where(value: Tensor) -> tuple[int, int]:
    stream = torch.cuda.current_stream(value.device)
    return stream.device_index, stream.cuda_stream
