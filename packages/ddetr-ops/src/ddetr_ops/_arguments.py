"""Checks of the arguments of ms_deform_attn and of sampling_points.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

SpatialShapes: TypeAlias = Tensor | Sequence[tuple[int, int]]

_INTEGERS = (int, np.integer, torch.SymInt)
_IN_ORDER = (Sequence, np.ndarray)
_LARGEST_SIZE = 2**31 - 1  # two of them multiplied fit in 64 bits
_VALUE_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_RANKS = {
    "value": (4, "(B, S, M, D)"),
    "sampling_locations": (6, "(B, Q, M, L, P, 2)"),
    "attention_weights": (5, "(B, Q, M, L, P)"),
    "reference_points": (4, "(B or 1, Q, L, 2 or 4)"),
    "sampling_offsets": (6, "(B, Q, M, L, P, 2)"),
    "attention_logits": (5, "(B, Q, M, L, P)"),
}


def check_arguments(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> None:
    """Compare the shapes, dtypes and devices with value's; read no element, so no host sync.

    Raises:
        TypeError: an argument is no tensor or has a dtype that the operator does not take.
        ValueError: ranks, sizes or devices disagree.
    """
    tensors = {
        "value": value,
        "sampling_locations": sampling_locations,
        "attention_weights": attention_weights,
    }
    _check_tensors(tensors)
    for name, tensor in tensors.items():
        if (tensor.dtype == torch.float64) != (value.dtype == torch.float64):
            raise TypeError(
                f"{name} is {tensor.dtype} and value {value.dtype}: float64 does not mix"
            )
    sizes = (value.shape[0], sampling_locations.shape[1], value.shape[2])  # B, Q, M
    levels, points = sampling_locations.shape[3:5]
    _check_sizes("sampling_locations", sampling_locations, (*sizes, levels, points, 2))
    _check_sizes("attention_weights", attention_weights, (*sizes, levels, points))
    check_levels(spatial_shapes, level_start_index, levels, value.device)


def check_point_arguments(
    reference_points: Tensor,  # (B or 1, Q, L, 2 or 4)
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2)
    attention_logits: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: SpatialShapes,  # (L, 2)
) -> None:
    """Compare the arguments of sampling_points likewise; dtypes may differ.

    Raises:
        TypeError: an argument is no tensor or has a dtype that the operator does not take.
        ValueError: ranks, sizes or devices disagree.
    """
    _check_tensors(
        {
            "reference_points": reference_points,
            "sampling_offsets": sampling_offsets,
            "attention_logits": attention_logits,
        }
    )
    batch, queries, heads, levels, points, _ = sampling_offsets.shape
    _check_sizes("sampling_offsets", sampling_offsets, (batch, queries, heads, levels, points, 2))
    _check_sizes("attention_logits", attention_logits, (batch, queries, heads, levels, points))
    images, coordinates = reference_points.shape[0], reference_points.shape[3]
    if coordinates not in (2, 4):
        raise ValueError(
            f"reference_points must end in 2 (x, y) or 4 (cx, cy, w, h), got {coordinates}"
        )
    if images != 1:
        images = batch
    _check_sizes("reference_points", reference_points, (images, queries, levels, coordinates))
    _check_shapes(spatial_shapes, levels, reference_points.device)


def check_gradient(
    grad_output: Tensor,  # (B, Q, M*D)
    value: Tensor,  # (B, S, M, D)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
) -> None:
    """Compare a gradient of the output with arguments that were checked.

    Raises:
        TypeError: it is no tensor.
        ValueError: its shape or device is not the output's.
    """
    if not isinstance(grad_output, Tensor):
        raise TypeError(f"grad_output must be a tensor, got {type(grad_output).__name__}")
    batch, _, heads, channels = value.shape
    sizes = (batch, sampling_locations.shape[1], heads * channels)
    if tuple(grad_output.shape) != sizes:
        raise ValueError(
            f"grad_output must be (B, Q, M*D) = {sizes}, got {tuple(grad_output.shape)}"
        )
    if grad_output.device != value.device:
        where = f"grad_output is on {grad_output.device}, value on {value.device}"
        raise ValueError(f"{where}: move one of them")


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Check type, rank and dtype of each, and that all are on the first one's device."""
    first, *_ = tensors
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        _check_dense(name, tensor)
        rank, meaning = _RANKS[name]
        if tensor.dim() != rank:
            raise ValueError(f"{name} must be {meaning}, got the shape {tuple(tensor.shape)}")
        if tensor.dtype not in _VALUE_DTYPES:
            wanted = "float32, float16, bfloat16 or float64"
            raise TypeError(f"{name} must be {wanted}, got {tensor.dtype}")
        if tensor.device != tensors[first].device:
            where = f"{name} is on {tensor.device}, {first} on {tensors[first].device}"
            raise ValueError(f"{where}: move one of them")


def _check_dense(name: str, tensor: Tensor) -> None:
    if tensor.is_nested or tensor.layout != torch.strided:
        layout = "nested" if tensor.is_nested else tensor.layout
        raise TypeError(f"{name} must be a dense tensor, got a {layout} one")


def _check_sizes(name: str, tensor: Tensor, sizes: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != sizes:
        meaning = _RANKS[name][1]
        raise ValueError(f"{name} must be {meaning} = {sizes}, got {tuple(tensor.shape)}")


def check_levels(
    spatial_shapes: SpatialShapes,
    level_start_index: Tensor | None,
    levels: int,
    device: torch.device,
) -> None:
    """Raise ValueError or TypeError, naming the argument, unless sizes and starts are int64 pairs.

    Their device may be value's (device) or the CPU.
    """
    _check_shapes(spatial_shapes, levels, device)
    if level_start_index is not None:
        _check_index("level_start_index", level_start_index, (levels,), device)
    elif isinstance(spatial_shapes, Tensor):
        raise ValueError("level_start_index may be None only if spatial_shapes holds Python ints")


def _check_shapes(spatial_shapes: SpatialShapes, levels: int, device: torch.device) -> None:
    if isinstance(spatial_shapes, Tensor):
        _check_index("spatial_shapes", spatial_shapes, (levels, 2), device)
    else:
        _check_pairs(spatial_shapes, levels)


def _check_pairs(spatial_shapes: Sequence[tuple[int, int]], levels: int) -> None:
    wanted = f"spatial_shapes must be {levels} pairs (height, width) of ints"
    if not isinstance(spatial_shapes, _IN_ORDER):  # nor a generator: it is read more than once
        raise TypeError(f"{wanted}, got {spatial_shapes!r}")
    try:
        pairs = [tuple(shape) for shape in spatial_shapes]
    except TypeError as error:
        raise TypeError(f"{wanted}, got {spatial_shapes!r}") from error
    if len(pairs) != levels or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{wanted}, got {pairs}")
    if not all(isinstance(size, _INTEGERS) for pair in pairs for size in pair):
        raise TypeError(f"{wanted}, got {pairs}")
    if any(not 0 < size <= _LARGEST_SIZE for pair in pairs for size in pair):
        raise ValueError(f"spatial_shapes must be positive heights and widths, got {pairs}")


def _check_index(name: str, tensor: Tensor, sizes: tuple[int, ...], device: torch.device) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {tensor.dtype}")
    _check_dense(name, tensor)
    if tuple(tensor.shape) != sizes:
        raise ValueError(f"{name} must have the shape {sizes}, got {tuple(tensor.shape)}")
    if tensor.device != device and tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}, the others on {device}: move one of them")
