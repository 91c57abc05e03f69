"""What the operator's arguments must look like, and those of what lies in front of it, said once.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "SpatialShapes",
    "check_arguments",
    "check_level_starts",
    "check_levels",
    "check_point_arguments",
    "level_shapes",
]

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


def level_shapes(spatial_shapes: SpatialShapes, *, num_pixels: int) -> list[tuple[int, int]]:
    """Height and width of each level as Python ints; a tensor on a GPU costs a host sync.

    Raises:
        ValueError: a level is not positive, or all levels together do not have num_pixels.
    """
    rows = spatial_shapes.tolist() if isinstance(spatial_shapes, Tensor) else spatial_shapes
    shapes = [(height, width) for height, width in rows]
    if any(height < 1 or width < 1 for height, width in shapes):
        raise ValueError(f"spatial_shapes must be positive heights and widths, got {shapes}")
    total = sum(height * width for height, width in shapes)
    if total != num_pixels:
        raise ValueError(
            f"value has {num_pixels} pixels an image, but spatial_shapes {shapes} make {total}"
        )
    return shapes


def check_level_starts(level_start_index: Tensor, shapes: Sequence[tuple[int, int]]) -> None:
    """Raise ValueError unless each level begins where the one before ends; may cost a host sync."""
    expected = 0
    for level, start in enumerate(level_start_index.tolist()):
        if start != expected:
            raise ValueError(f"level_start_index[{level}] must be {expected}, got {start}")
        expected += shapes[level][0] * shapes[level][1]


def check_arguments(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> None:
    """Compare ranks, sizes, dtypes and devices; read no element, so no host sync.

    Raises:
        TypeError: an argument is no tensor or has a dtype that the operator does not take.
        ValueError: ranks, sizes or devices disagree.
    """
    tensors = {
        "value": value,
        "sampling_locations": sampling_locations,
        "attention_weights": attention_weights,
    }
    for name, tensor in tensors.items():
        _check_tensor(name, tensor)
        _check_beside(name, tensor, value)
    batch, _, heads, _ = value.shape
    _, queries, _, levels, points, _ = sampling_locations.shape
    _check_sizes(
        "sampling_locations", sampling_locations, (batch, queries, heads, levels, points, 2)
    )
    _check_sizes("attention_weights", attention_weights, (batch, queries, heads, levels, points))
    check_levels(spatial_shapes, level_start_index, levels, value.device)


def check_point_arguments(
    reference_points: Tensor,  # (B or 1, Q, L, 2 or 4)
    sampling_offsets: Tensor,  # (B, Q, M, L, P, 2)
    attention_logits: Tensor,  # (B, Q, M, L, P)
    spatial_shapes: SpatialShapes,  # (L, 2)
) -> None:
    """Compare what lies in front of the operator likewise; dtypes may differ.

    Raises:
        TypeError: an argument is no tensor or has a dtype that the operator does not take.
        ValueError: ranks, sizes or devices disagree.
    """
    tensors = {
        "reference_points": reference_points,
        "sampling_offsets": sampling_offsets,
        "attention_logits": attention_logits,
    }
    for name, tensor in tensors.items():
        _check_tensor(name, tensor)
        _check_device(name, tensor, "reference_points", reference_points)
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


def _check_tensor(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    _check_dense(name, tensor)
    rank, meaning = _RANKS[name]
    if tensor.dim() != rank:
        raise ValueError(f"{name} must be {meaning}, got the shape {tuple(tensor.shape)}")
    if tensor.dtype not in _VALUE_DTYPES:
        raise TypeError(f"{name} must be float32, float16, bfloat16 or float64, got {tensor.dtype}")


def _check_beside(name: str, tensor: Tensor, value: Tensor) -> None:
    if (tensor.dtype == torch.float64) != (value.dtype == torch.float64):
        raise TypeError(f"{name} is {tensor.dtype} and value {value.dtype}: float64 does not mix")
    _check_device(name, tensor, "value", value)


def _check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(
            f"{name} is on {tensor.device}, {other_name} on {other.device}: move one of them"
        )


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
