"""Sizes and starts of the levels, checked already, in the form that a back-end takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops._torch_private import transforms_are_active

PLAIN_CLASSES = (Tensor, nn.Parameter)  # a subclass may mean something else by its memory

_Sizes: TypeAlias = tuple[tuple[int, ...], ...]
_MOST_KEPT = 4096
_kept: dict[tuple[_Sizes, torch.device], tuple[Tensor, Tensor]] = {}


def known_to_a_trace(spatial_shapes: SpatialShapes) -> SpatialShapes:
    """Sizes as Python ints: torch.jit.trace hands them out as tensors, and its trace keeps them."""
    if isinstance(spatial_shapes, Tensor):
        return spatial_shapes
    return [(int(height), int(width)) for height, width in spatial_shapes]


def level_sizes(
    spatial_shapes: SpatialShapes, level_start_index: Tensor | None, *, num_pixels: int
) -> list[tuple[int, int]]:
    """Height and width of each level (L, 2) as Python ints; a GPU's tensor costs a host sync.

    Raises:
        ValueError: a level is not positive, all levels together do not have num_pixels, or one
            does not begin where the one before ends.
    """
    rows = _as_list(spatial_shapes) if isinstance(spatial_shapes, Tensor) else spatial_shapes
    sizes = [(height, width) for height, width in rows]
    if any(height < 1 or width < 1 for height, width in sizes):
        raise ValueError(f"spatial_shapes must be positive heights and widths, got {sizes}")
    total = sum(height * width for height, width in sizes)
    if total != num_pixels:
        raise ValueError(
            f"value has {num_pixels} pixels an image, but spatial_shapes {sizes} make {total}"
        )
    if isinstance(spatial_shapes, Tensor) and level_start_index is not None:
        _check_starts(level_start_index, sizes)
    return sizes


def level_tensors(
    spatial_shapes: SpatialShapes, level_start_index: Tensor | None, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Sizes (L, 2) and starts (L,) as tensors."""
    if isinstance(spatial_shapes, Tensor) and level_start_index is not None:
        return spatial_shapes, level_start_index
    # Whoever traces a call wants these to be part of the trace.
    traced = torch.compiler.is_compiling() or type(value) not in PLAIN_CLASSES
    make = _make if traced else _make_once
    shapes, starts = make(tuple((height, width) for height, width in spatial_shapes), value.device)
    return shapes, starts if level_start_index is None else level_start_index


def _check_starts(level_start_index: Tensor, sizes: Sequence[tuple[int, int]]) -> None:
    expected = 0
    for level, start in enumerate(_as_list(level_start_index)):
        if start != expected:
            raise ValueError(f"level_start_index[{level}] must be {expected}, got {start}")
        expected += sizes[level][0] * sizes[level][1]


def _as_list(tensor: Tensor) -> list[Any]:
    # Up to PyTorch 2.9 a tensor has no list inside a transform of torch.func, but single numbers.
    if torch.compiler.is_compiling() or not transforms_are_active():
        found: list[Any] = tensor.tolist()
        return found
    return [_as_list(part) if part.dim() else int(part) for part in tensor.unbind()]


def _make(sizes: _Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    shapes = torch.as_tensor(sizes, dtype=torch.int64)
    areas = shapes.prod(1)
    # Copies wait, so that a GPU's are there for every stream.
    return shapes.to(device), (areas.cumsum(0) - areas).to(device)


def _make_once(sizes: _Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same tensors for the same sizes, for good.

    To make them on a GPU is to wait for it, and a CUDA graph holds their addresses.
    """
    found = _kept.get((sizes, device))
    if found is None:
        with torch.inference_mode(False):  # a later call may save them for its backward pass
            found = _make(sizes, device)
        # Fake tensors and those of a transform are not kept.
        real = type(found[0]) is Tensor and not transforms_are_active()
        if real and len(_kept) < _MOST_KEPT:
            _kept[sizes, device] = found
    return found
