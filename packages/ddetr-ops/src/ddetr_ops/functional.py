"""The operator as a function: choose a back-end, keep the dtype rules, sample.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

import functools
import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from ddetr_ops import _native
from ddetr_ops._arguments import SpatialShapes, check_arguments, check_levels
from ddetr_ops._direct import can_call_directly, ms_deform_attn_direct
from ddetr_ops._functorch import refuse_tangents
from ddetr_ops._operator import ms_deform_attn_operator
from ddetr_ops.reference import ms_deform_attn_reference

__all__ = ["Backend", "ms_deform_attn"]

Backend = Literal["auto", "native", "reference"]

_WRONG_ARGUMENTS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)
_MOST_LEVELS = 4096
_levels: dict[tuple[tuple[tuple[int, ...], ...], torch.device], tuple[Tensor, Tensor]] = {}


def ms_deform_attn(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2) int64, height then width
    level_start_index: Tensor | None,  # (L,) int64
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2), x then y, 0 to 1 inside the image
    attention_weights: Tensor,  # (B, Q, M, L, P), sums to 1 over L and P
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Sample value at the given places and sum by weight.

    "auto" takes the native kernels where they are built for value's device and else the plain
    PyTorch reference, with one warning; "native" and "reference" insist. 16-bit locations and
    weights are widened to float32 first. level_start_index may be None if sizes are Python ints.

    Returns:
        (B, Q, M * D), in value's dtype. Places outside the image count as zero.

    Raises:
        ValueError: a shape disagrees with the others, or an unknown backend.
        TypeError: a dtype that the operator does not take.
        RuntimeError: backend="native" and the native part is missing for value's device.
    """
    if backend not in ("auto", "native", "reference"):
        raise ValueError(f"backend must be auto, native or reference, got {backend!r}")
    arguments = (
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )  # fmt: skip
    if backend != "reference" and can_call_directly():
        output = _call_directly(*arguments)
        if output is not None:
            return output
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        arguments = (value, _as_ints(spatial_shapes), *arguments[2:])
    check_arguments(*arguments)
    if backend == "reference" or not _can_run_natively(value, backend):
        return ms_deform_attn_reference(*arguments)
    return _call_operator(*arguments)


def _call_directly(
    value: Tensor,
    spatial_shapes: SpatialShapes,
    level_start_index: Tensor | None,
    *points: Tensor,  # locations and weights
) -> Tensor | None:
    """None if the dispatcher has to see the call, or check_arguments has words for it."""
    if not getattr(value, "is_cpu", False):
        return None
    if isinstance(spatial_shapes, Tensor):
        return ms_deform_attn_direct(value, spatial_shapes, level_start_index, *points)
    try:
        check_levels(spatial_shapes, level_start_index, points[0].shape[3], value.device)
    except _WRONG_ARGUMENTS:
        return None
    levels = _level_tensors(spatial_shapes, level_start_index, value)
    return ms_deform_attn_direct(value, *levels, *points)


def _as_ints(spatial_shapes: SpatialShapes) -> SpatialShapes:
    """A tracer hands sizes out as tensors; what it traces holds for these sizes."""
    if isinstance(spatial_shapes, Tensor):
        return spatial_shapes
    return [(int(height), int(width)) for height, width in spatial_shapes]


def _call_operator(
    value: Tensor,
    spatial_shapes: SpatialShapes,
    level_start_index: Tensor | None,
    *points: Tensor,  # locations and weights
) -> Tensor:
    levels = _level_tensors(spatial_shapes, level_start_index, value)
    wide = torch.promote_types(value.dtype, torch.float32)
    refuse_tangents("ms_deform_attn", value, *points)
    output: Tensor = ms_deform_attn_operator(value, *levels, *(each.to(wide) for each in points))
    return output


def _can_run_natively(value: Tensor, backend: Backend) -> bool:
    if value.is_meta:
        return True  # the operator knows its output's shape
    problem = _native.problem_on(value.device.type)
    if value.is_cuda and value.dtype == torch.float64:
        problem = problem or "the CUDA kernels do not take float64"
    if problem and backend == "native":
        raise RuntimeError(f"backend='native' cannot run: {problem}; pass backend='reference'")
    if problem and not torch.compiler.is_compiling():
        _warn_once(problem)
    return not problem


@functools.cache
def _warn_once(problem: str) -> None:
    warnings.warn(f"ddetr-ops runs its slow PyTorch reference: {problem}", stacklevel=4)


def _level_tensors(
    spatial_shapes: SpatialShapes, level_start_index: Tensor | None, value: Tensor
) -> tuple[Tensor, Tensor]:
    if isinstance(spatial_shapes, Tensor) and level_start_index is not None:
        return spatial_shapes, level_start_index
    # Whoever traces a call wants these to be part of the trace.
    traced = torch.compiler.is_compiling() or type(value) not in (Tensor, nn.Parameter)
    make = _make_levels if traced else _known_levels
    sizes = tuple((height, width) for height, width in spatial_shapes)
    shapes, starts = make(sizes, value.device)
    return shapes, starts if level_start_index is None else level_start_index


def _make_levels(
    spatial_shapes: tuple[tuple[int, ...], ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    shapes = torch.as_tensor(spatial_shapes, dtype=torch.int64)
    areas = shapes.prod(1)
    # Copies wait, so that a GPU's are there for every stream.
    return shapes.to(device), (areas.cumsum(0) - areas).to(device)


def _known_levels(
    shapes: tuple[tuple[int, ...], ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The same tensors for the same sizes, for good.

    To make them on a GPU is to wait for it, and a CUDA graph holds their addresses.
    """
    found = _levels.get((shapes, device))
    if found is None:
        with torch.inference_mode(False):  # a later call may save them for its backward pass
            found = _make_levels(shapes, device)
        # Fake tensors and those of a transform are not kept.
        real = type(found[0]) is Tensor and not torch._C._are_functorch_transforms_active()
        if real and len(_levels) < _MOST_LEVELS:
            _levels[shapes, device] = found
    return found
