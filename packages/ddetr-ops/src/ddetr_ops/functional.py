"""The operator as a function: choose a back-end, keep the dtype rules, sample.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ddetr_ops.arguments import SpatialShapes
from ddetr_ops.reference import ms_deform_attn_reference

__all__ = ["Backend", "ms_deform_attn"]

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
    """Sample value at the given places and sum by weight.

    "auto" takes the native kernels where they are built for value's device and else the plain
    PyTorch reference; "native" and "reference" insist.

    Returns:
        (B, Q, M * D), in value's dtype. Places outside the image count as zero.

    Raises:
        ValueError: a shape disagrees with the others, or an unknown backend.
        TypeError: a dtype that the operator does not take.
        RuntimeError: backend="native" and the native part is missing for value's device.
    """
    if backend not in ("auto", "native", "reference"):
        raise ValueError(f"backend must be auto, native or reference, got {backend!r}")
    if backend == "native":
        raise RuntimeError("the native kernels are not built; pass backend='reference'")
    return ms_deform_attn_reference(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
