"""Names of fundamentalvision/Deformable-DETR, the original, which DINO and Mask2Former share.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, C channels of the model (M * D).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.functional import ms_deform_attn, ms_deform_attn_gradients
from ddetr_ops.module import DeformableAttention


def ms_deform_attn_forward(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2) int64, height then width
    level_start_index: Tensor,  # (L,) int64
    sampling_loc: Tensor,  # (B, Q, M, L, P, 2)
    attn_weight: Tensor,  # (B, Q, M, L, P)
    im2col_step: int,
) -> Tensor:  # (B, Q, M*D)
    """Sample and sum as the compiled extension does: (B, Q, M * D), without a graph.

    Tensors may be on any device, of any of the operator's dtypes, and need not be contiguous.
    im2col_step, the most images of one launch, changes no number: any batch size is fine with it.

    Raises:
        ValueError: shapes disagree, or im2col_step is below 1.
        TypeError: a dtype that the operator does not take.
    """
    _check_step(im2col_step)
    arguments = (value, spatial_shapes, level_start_index, sampling_loc, attn_weight)
    with torch.no_grad():
        return ms_deform_attn(*arguments)


def ms_deform_attn_backward(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: Tensor,  # (L, 2) int64, height then width
    level_start_index: Tensor,  # (L,) int64
    sampling_loc: Tensor,  # (B, Q, M, L, P, 2)
    attn_weight: Tensor,  # (B, Q, M, L, P)
    grad_output: Tensor,  # (B, Q, M*D)
    im2col_step: int,
) -> list[Tensor]:
    """Gradients of value, sampling_loc and attn_weight, each in its tensor's shape and dtype.

    Raises:
        ValueError: shapes disagree, or im2col_step is below 1.
        TypeError: a dtype that the operator does not take.
    """
    _check_step(im2col_step)
    arguments = (value, spatial_shapes, level_start_index, sampling_loc, attn_weight)
    with torch.no_grad():
        return list(ms_deform_attn_gradients(grad_output, *arguments))


class MSDeformAttnFunction:
    """Stands for the original's autograd function: the same `apply`, differentiable as before."""

    @staticmethod
    def apply(
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Tensor,  # (L, 2)
        value_level_start_index: Tensor,  # (L,)
        sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
        attention_weights: Tensor,  # (B, Q, M, L, P)
        im2col_step: int = 64,  # noqa: ARG004
    ) -> Tensor:  # (B, Q, M*D)
        """Sample and sum, (B, Q, M * D); im2col_step is not needed, any batch size is fine."""
        return ms_deform_attn(
            value,
            value_spatial_shapes,
            value_level_start_index,
            sampling_locations,
            attention_weights,
        )


def ms_deform_attn_core_pytorch(
    value: Tensor,  # (B, S, M, D)
    value_spatial_shapes: SpatialShapes,  # (L, 2)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:  # (B, Q, M*D)
    """Sample and sum, (B, Q, M * D), from a tensor of any ints or pairs of ints, without starts."""
    if isinstance(value_spatial_shapes, Tensor):
        value_spatial_shapes = value_spatial_shapes.long()
    starts = level_starts(value_spatial_shapes)
    return ms_deform_attn(
        value, value_spatial_shapes, starts, sampling_locations, attention_weights
    )


class MSDeformAttn(DeformableAttention):
    """The layer of `ddetr_ops.MSDeformAttn` under the original's argument names."""

    im2col_step = 64

    def forward(
        self,
        query: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2) x y, or (B, Q, L, 4) cx cy w h; 0 to 1
        input_flatten: Tensor,  # (B, S, C)
        input_spatial_shapes: SpatialShapes,  # (L, 2), height then width
        input_level_start_index: Tensor | None,  # (L,)
        input_padding_mask: Tensor | None = None,  # (B, S) bool, True is padding
    ) -> Tensor:
        """Attend from each query to the pixels around its reference points.

        Returns:
            (B, Q, C).

        Raises:
            ValueError: reference_points has another last size than 2 or 4, or shapes disagree.
        """
        return self.attend(
            query,
            reference_points,
            input_flatten,
            input_spatial_shapes,
            input_level_start_index,
            input_padding_mask,
        )

    def _reset_parameters(self) -> None:
        self.reset_parameters()


def level_starts(spatial_shapes: SpatialShapes) -> Tensor | None:
    """Index of each level's first pixel, (L,); None for sizes as ints, which say it themselves."""
    if not isinstance(spatial_shapes, Tensor):
        return None
    areas = spatial_shapes.prod(1)
    return areas.cumsum(0) - areas


def _check_step(im2col_step: Any) -> None:
    if operator.index(im2col_step) < 1:
        raise ValueError(f"im2col_step must be at least 1, got {im2col_step}")
