"""The compiled part: whether it is there, for which devices, and how tensors are handed to it."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

try:  # torch is imported first: its wheel brings the OpenMP runtime that the kernels share
    import ddetr_ops._core as _core
except ImportError as error:
    _core = None  # type: ignore[assignment]
    _IMPORT_PROBLEM = str(error)
else:
    _IMPORT_PROBLEM = ""
    _core.read_tensors_of(Tensor, nn.Parameter)

__all__ = [
    "backward_cpu",
    "backward_cuda",
    "backward_tensors",
    "forward_cpu",
    "forward_cuda",
    "forward_tensors",
    "instruction_set",
    "points_backward_cpu",
    "points_cpu",
    "problem_on",
]

_VECTOR_BYTES = 16  # of the CUDA kernels' loads
# Whether CUDA takes squares of queries where these are the pixels; off to compare the kernels.
_CUDA_TILES = True

_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def problem_on(device_type: str) -> str:
    """Why the native kernels cannot run on "cpu" or "cuda"; empty if they can."""
    if _core is None:
        return f"this build of ddetr-ops has no native part ({_IMPORT_PROBLEM})"
    if device_type == "cpu":
        return ""
    if device_type != "cuda":
        return f"there are no kernels for {device_type}"
    if not hasattr(_core, "cuda_problem"):
        return "this build of ddetr-ops has no CUDA kernels"
    return _cuda_problem()


@functools.cache
def _cuda_problem() -> str:
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return _core.cuda_problem()


def instruction_set() -> str:
    """The processor's instruction set in use: avx512, avx2 or baseline; empty if not built."""
    return "" if _core is None else _core.instruction_set()


def forward_cpu(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:  # (B, Q, M*D)
    """Run the forward kernels on as many threads as torch uses."""
    value = value.contiguous()
    sampling_locations = sampling_locations.contiguous()
    attention_weights = attention_weights.contiguous()
    batch, _, heads, channels = value.shape
    make = value.new_empty if sampling_locations.numel() else value.new_zeros
    output = make(batch, sampling_locations.shape[1], heads * channels)
    _core.forward(
        _array(value),
        _index_list("spatial_shapes", spatial_shapes),
        _index_list("level_start_index", level_start_index),
        _array(sampling_locations),
        _array(attention_weights),
        _array(output),
        torch.get_num_threads(),
    )
    return output


def forward_tensors(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor | None:  # (B, Q, M*D)
    """Run the forward kernels on tensors that can be read where they are, with few Python calls.

    None, with nothing done, for any that are no plain contiguous tensors in the CPU's memory, for
    what disagrees, and where torch does not publish DLPack's exchange table.
    """
    return _core.forward_tensors(
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        attention_weights,
        torch.get_num_threads(),
    )


def backward_cpu(
    grad_output: Tensor,  # (B, Q, M*D)
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the backward kernels; gradients of value, locations and weights."""
    # Names keep the contiguous copies alive while the kernel reads their memory.
    grad_output = grad_output.contiguous()
    inputs = [value.contiguous(), sampling_locations.contiguous(), attention_weights.contiguous()]
    # The kernels write every element, but have nothing to do if one of the arrays is empty.
    make = torch.empty_like if all(tensor.numel() for tensor in inputs) else torch.zeros_like
    value_grad, location_grad, weight_grad = (make(tensor) for tensor in inputs)
    _core.backward(
        _array(grad_output),
        _array(inputs[0]),
        _index_list("spatial_shapes", spatial_shapes),
        _index_list("level_start_index", level_start_index),
        _array(inputs[1]),
        _array(inputs[2]),
        _array(value_grad),
        _array(location_grad),
        _array(weight_grad),
        torch.get_num_threads(),
    )
    return value_grad, location_grad, weight_grad


def backward_tensors(
    grad_output: Tensor,  # (B, Q, M*D)
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Run the backward kernels as forward_tensors does its own; None likewise."""
    return _core.backward_tensors(
        grad_output,
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        attention_weights,
        torch.get_num_threads(),
    )


def points_cpu(
    reference_points: Tensor,  # (B, Q, L, 2 or 4)
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2)
    attention_logits: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: Tensor,  # (L, 2)
) -> tuple[Tensor, Tensor]:
    """Run the kernel in front of the operator; locations and weights."""
    inputs = [t.contiguous() for t in (reference_points, sampling_offsets, attention_logits)]
    locations, weights = torch.empty_like(inputs[1]), torch.empty_like(inputs[2])
    _core.points(
        _array(inputs[0]),
        _array(inputs[1]),
        _array(inputs[2]),
        _index_list("spatial_shapes", spatial_shapes),
        _array(locations),
        _array(weights),
        torch.get_num_threads(),
    )
    return locations, weights


def points_backward_cpu(
    grad_locations: Tensor,  # (B, Q, M, L, P, 2)
    grad_weights: Tensor,  # (B, Q, M, L, P)
    reference_points: Tensor,  # (B, Q, L, 2 or 4)
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: Tensor,  # (L, 2)
) -> tuple[Tensor, Tensor, Tensor]:
    """Run its derivative; gradients of reference points, offsets and logits."""
    upstream = [t.contiguous() for t in (grad_locations, grad_weights)]
    inputs = [t.contiguous() for t in (reference_points, sampling_offsets, attention_weights)]
    make = torch.empty_like if inputs[1].numel() else torch.zeros_like
    references_grad, offsets_grad, logits_grad = (make(tensor) for tensor in inputs)
    _core.points_backward(
        _array(upstream[0]),
        _array(upstream[1]),
        _array(inputs[0]),
        _array(inputs[1]),
        _array(inputs[2]),
        _index_list("spatial_shapes", spatial_shapes),
        _array(references_grad),
        _array(offsets_grad),
        _array(logits_grad),
        torch.get_num_threads(),
    )
    return references_grad, offsets_grad, logits_grad


def forward_cuda(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:  # (B, Q, M*D)
    """Run the forward kernel on value's device and torch's current stream, without waiting."""
    inputs = [_aligned(tensor) for tensor in (value, sampling_locations, attention_weights)]
    levels = _levels_on_device(spatial_shapes, level_start_index, value.device)
    batch, _, heads, channels = value.shape
    make = value.new_empty if sampling_locations.numel() else value.new_zeros
    output = make(batch, sampling_locations.shape[1], heads * channels)
    _core.forward_cuda(
        _array(inputs[0]),
        levels[0].data_ptr(),
        levels[1].data_ptr(),
        _array(inputs[1]),
        _array(inputs[2]),
        _array(output),
        *_device_and_stream(value),
        _CUDA_TILES,
    )
    return output


def backward_cuda(
    grad_output: Tensor,  # (B, Q, M*D)
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2)
    level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the backward kernel; the slow one if torch.use_deterministic_algorithms asks for it."""
    grad_output = _aligned(grad_output)
    inputs = [_aligned(tensor) for tensor in (value, sampling_locations, attention_weights)]
    levels = _levels_on_device(spatial_shapes, level_start_index, value.device)
    value_grad = torch.zeros_like(inputs[0], dtype=torch.float32)
    make = torch.empty_like if inputs[0].numel() else torch.zeros_like
    location_grad, weight_grad = make(inputs[1]), make(inputs[2])
    _core.backward_cuda(
        _array(grad_output),
        _array(inputs[0]),
        levels[0].data_ptr(),
        levels[1].data_ptr(),
        _array(inputs[1]),
        _array(inputs[2]),
        _array(value_grad),
        _array(location_grad),
        _array(weight_grad),
        *_device_and_stream(value),
        _CUDA_TILES,
        torch.are_deterministic_algorithms_enabled(),
    )
    return value_grad.to(value.dtype), location_grad, weight_grad


def _index_list(name: str, tensor: Tensor) -> list[Any]:
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"{name} must be int64, got {tensor.dtype}")
    numbers: list[Any] = tensor.tolist()
    return numbers


def _aligned(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % _VECTOR_BYTES == 0 else tensor.clone()


def _levels_on_device(
    spatial_shapes: Tensor, level_start_index: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    shapes, starts = (it.to(device, torch.int64) for it in (spatial_shapes, level_start_index))
    return shapes.contiguous(), starts.contiguous()


def _device_and_stream(value: Tensor) -> tuple[int, int]:
    stream = torch.cuda.current_stream(value.device)
    return stream.device_index, stream.cuda_stream


def _array(tensor: Tensor) -> tuple[int, str, tuple[int, ...]]:
    return tensor.data_ptr(), _DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype)), tensor.shape
