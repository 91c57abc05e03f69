"""The operator behind other projects' signatures."""

from __future__ import annotations

from torch import Tensor, nn

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.functional import ms_deform_attn


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


class MultiScaleDeformableAttention(nn.Module):
    """Stands for the layer of the same name in transformers' models."""

    def forward(
        self,
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Tensor,  # (L, 2)
        value_spatial_shapes_list: list[tuple[int, int]],  # noqa: ARG002
        level_start_index: Tensor,  # (L,)
        sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
        attention_weights: Tensor,  # (B, Q, M, L, P)
        im2col_step: int = 64,  # noqa: ARG002
    ) -> Tensor:  # (B, Q, M*D)
        """Sample and sum, (B, Q, M * D); the list of sizes and im2col_step are not needed."""
        return ms_deform_attn(
            value, value_spatial_shapes, level_start_index, sampling_locations, attention_weights
        )


MultiScaleDeformableAttnFunction = MSDeformAttnFunction  # mmcv's and detrex' name


def multi_scale_deformable_attn_pytorch(
    value: Tensor,  # (B, S, M, D)
    value_spatial_shapes: SpatialShapes,  # (L, 2)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:  # (B, Q, M*D)
    """Give (B, Q, M * D) as the function of mmcv, detrex and, below, the original does."""
    starts = None
    if isinstance(value_spatial_shapes, Tensor):
        areas = value_spatial_shapes.prod(1)
        starts = areas.cumsum(0) - areas
    return ms_deform_attn(
        value, value_spatial_shapes, starts, sampling_locations, attention_weights
    )


ms_deform_attn_core_pytorch = multi_scale_deformable_attn_pytorch
