"""The operator as a function: the one gate to its back-ends.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

import functools
import warnings
from typing import Literal

import torch
from torch import Tensor

from ddetr_ops._arguments import SpatialShapes, check_arguments, check_gradient
from ddetr_ops._direct import can_call_directly, ms_deform_attn_direct
from ddetr_ops._functorch import refuse_tangents
from ddetr_ops._levels import known_to_a_trace, level_tensors
from ddetr_ops._native import problem_on
from ddetr_ops._operator import ms_deform_attn_backward_operator, ms_deform_attn_operator
from ddetr_ops.reference import ms_deform_attn_reference

Backend = Literal["auto", "native", "reference"]


def ms_deform_attn(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2) int64, height then width
    level_start_index: Tensor | None,  # (L,) int64
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2), x then y, 0 to 1 inside the image
    attention_weights: Tensor,  # (B, Q, M, L, P), sums to 1 over L and P
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Sample value at the given locations and sum by weight.

    "auto" takes the native kernels where they are built for value's device and else the plain
    PyTorch reference, with one warning; "native" and "reference" insist. 16-bit locations and
    weights are widened to float32 first. level_start_index may be None if sizes are Python ints.

    Returns:
        (B, Q, M * D), in value's dtype. Locations outside the image count as zero.

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
    chosen = _choose_back_end(value, backend)
    if chosen == "direct":
        output = ms_deform_attn_direct(*arguments)
        if output is not None:
            return output  # else the operator copies tensors, or raises the error that names one
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        arguments = (value, known_to_a_trace(spatial_shapes), *arguments[2:])
    return (ms_deform_attn_reference if chosen == "reference" else _call_operator)(*arguments)


def ms_deform_attn_gradients(
    grad_output: Tensor,  # (B, Q, M*D)
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2)
    level_start_index: Tensor | None,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> tuple[Tensor, Tensor, Tensor]:
    """Derive the operator without a graph, for who keeps its inputs themselves.

    Returns:
        Gradients of value, locations and weights, each in its tensor's shape and dtype.

    Raises:
        ValueError: a shape disagrees with the others; the text names the argument.
        TypeError: a dtype that the operator does not take.
    """
    points = (sampling_locations, attention_weights)
    if not torch.compiler.is_compiling():  # the forward pass was traced with the same tensors
        check_arguments(value, spatial_shapes, level_start_index, *points)
    check_gradient(grad_output, value, sampling_locations)
    grad_output = grad_output.to(value.dtype)
    if _choose_back_end(value, "auto") == "reference":
        leaves = [each.detach().requires_grad_() for each in (value, *points)]
        with torch.enable_grad():
            output = ms_deform_attn_reference(
                leaves[0], spatial_shapes, level_start_index, *leaves[1:]
            )
        of_value, of_locations, of_weights = torch.autograd.grad(output, leaves, grad_output)
        return of_value, of_locations, of_weights
    levels = level_tensors(spatial_shapes, level_start_index, value)
    wide = torch.promote_types(value.dtype, torch.float32)
    of_value, *of_points = ms_deform_attn_backward_operator(
        grad_output, value, *levels, *(each.to(wide) for each in points)
    )
    of_locations, of_weights = (
        gradient.to(each.dtype) for gradient, each in zip(of_points, points, strict=True)
    )
    return of_value, of_locations, of_weights


def _choose_back_end(value: Tensor, backend: Backend) -> Literal["direct", "operator", "reference"]:
    if backend == "reference":
        return "reference"
    if can_call_directly(value):
        return "direct"
    # Of the device's type, since a compiled backward pass may not ask a tensor what it is.
    if not isinstance(value, Tensor) or value.device.type == "meta":
        return "operator"  # raises for what is no tensor, and gives a meta tensor's output shape
    problem = problem_on(value.device.type)
    if value.device.type == "cuda" and value.dtype == torch.float64:
        problem = problem or "the CUDA kernels do not take float64"
    if not problem:
        return "operator"
    if backend == "native":
        raise RuntimeError(f"backend='native' cannot run: {problem}; pass backend='reference'")
    if not torch.compiler.is_compiling():
        _warn_once(problem)
    return "reference"


def _call_operator(
    value: Tensor,
    spatial_shapes: SpatialShapes,
    level_start_index: Tensor | None,
    *points: Tensor,  # locations and weights
) -> Tensor:
    check_arguments(value, spatial_shapes, level_start_index, *points)
    levels = level_tensors(spatial_shapes, level_start_index, value)
    wide = torch.promote_types(value.dtype, torch.float32)
    refuse_tangents("ms_deform_attn", value, *points)
    output: Tensor = ms_deform_attn_operator(value, *levels, *(each.to(wide) for each in points))
    return output


@functools.cache
def _warn_once(problem: str) -> None:
    warnings.warn(f"ddetr-ops runs its slow PyTorch reference: {problem}", stacklevel=4)
