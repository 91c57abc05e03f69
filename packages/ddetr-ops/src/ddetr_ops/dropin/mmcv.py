"""Names of mmcv.ops.multi_scale_deform_attn (open-mmlab/mmcv), without mmcv.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, C channels of the model.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.dropin import original
from ddetr_ops.dropin._layer import QueryKeyValueAttention

MultiScaleDeformableAttnFunction = original.MSDeformAttnFunction
multi_scale_deformable_attn_pytorch = original.ms_deform_attn_core_pytorch


def ms_deform_attn_forward(
    value: Tensor,  # (B, S, M, D)
    value_spatial_shapes: Tensor,  # (L, 2)
    value_level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
    im2col_step: int = 64,
) -> Tensor:  # (B, Q, M*D)
    """Sample and sum as mmcv's extension does: (B, Q, M * D), without a graph."""
    return original.ms_deform_attn_forward(
        value,
        value_spatial_shapes,
        value_level_start_index,
        sampling_locations,
        attention_weights,
        im2col_step,
    )


def ms_deform_attn_backward(
    value: Tensor,  # (B, S, M, D)
    value_spatial_shapes: Tensor,  # (L, 2)
    value_level_start_index: Tensor,  # (L,)
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
    attention_weights: Tensor,  # (B, Q, M, L, P)
    grad_output: Tensor,  # (B, Q, M*D)
    grad_value: Tensor,  # (B, S, M, D), written
    grad_sampling_loc: Tensor,  # (B, Q, M, L, P, 2), written
    grad_attn_weight: Tensor,  # (B, Q, M, L, P), written
    im2col_step: int = 64,
) -> None:
    """Write the gradients as mmcv's extension does, into the three tensors that are given."""
    gradients = original.ms_deform_attn_backward(
        value,
        value_spatial_shapes,
        value_level_start_index,
        sampling_locations,
        attention_weights,
        grad_output,
        im2col_step,
    )
    written = (grad_value, grad_sampling_loc, grad_attn_weight)
    for memory, gradient in zip(written, gradients, strict=True):
        memory.copy_(gradient)


class MultiScaleDeformableAttention(QueryKeyValueAttention):
    """mmcv's layer: queries first unless batch_first, dropout, and the identity added.

    A checkpoint of mmcv's fits, its keys are the same. `init_cfg` and `norm_cfg` are kept and, as
    in mmcv, do nothing to the numbers.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        im2col_step: int = 64,
        dropout: float = 0.1,
        batch_first: bool = False,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: Any = None,
        value_proj_ratio: float = 1.0,
    ) -> None:
        """Build the projections.

        Args:
            embed_dims: channels of queries and of the feature levels (C).
            num_heads: heads (M); must divide embed_dims.
            num_levels: feature levels (L).
            num_points: sampling points a head and level (P).
            im2col_step: not needed.
            dropout: probability of a zero in the output, in front of the identity.
            batch_first: whether tensors are (B, Q, C) and not (Q, B, C).
            norm_cfg: kept.
            init_cfg: kept.
            value_proj_ratio: channels that are sampled, as a multiple of embed_dims.

        Raises:
            ValueError: a number is below 1, or the heads do not divide the channels.
        """
        super().__init__(embed_dims, num_heads, num_levels, num_points, batch_first=batch_first)
        self.embed_dims = embed_dims
        self.im2col_step = im2col_step
        self.norm_cfg = norm_cfg
        self.init_cfg = init_cfg
        self.dropout = nn.Dropout(dropout)
        sampled = int(embed_dims * value_proj_ratio)
        if sampled < 1 or sampled % num_heads:
            raise ValueError(
                f"embed_dims * value_proj_ratio = {sampled} must be a multiple of "
                f"num_heads {num_heads}"
            )
        if sampled != embed_dims:
            self.value_proj = nn.Linear(embed_dims, sampled)
            self.output_proj = nn.Linear(sampled, embed_dims)
            self.init_weights()

    def forward(
        self,
        query: Tensor,  # (Q, B, C), or (B, Q, C) with batch_first
        key: Tensor | None = None,  # noqa: ARG002
        value: Tensor | None = None,  # (S, B, C), or (B, S, C) with batch_first
        identity: Tensor | None = None,  # like query
        query_pos: Tensor | None = None,  # like query
        key_padding_mask: Tensor | None = None,  # (B, S), True is padding
        reference_points: Tensor | None = None,  # (B, Q, L, 2 or 4)
        spatial_shapes: SpatialShapes | None = None,  # (L, 2)
        level_start_index: Tensor | None = None,  # (L,)
        **kwargs: Any,
    ) -> Tensor:
        """Attend, and add the identity: query, where none is given.

        Keys are not needed, and other keyword arguments are passed over; `residual` is what
        identity was called once.

        Returns:
            As query is: (Q, B, C), or (B, Q, C) with batch_first.

        Raises:
            ValueError: reference_points has another last size than 2 or 4, or shapes disagree.
            TypeError: reference_points or spatial_shapes are missing, or both identity and
                residual are given.
        """
        if "residual" in kwargs:
            if identity is not None:
                raise TypeError("give identity, and not residual too, which is its old name")
            warnings.warn("residual is identity's old name", DeprecationWarning, stacklevel=2)
            identity = kwargs["residual"]
        positions: Any = (reference_points, spatial_shapes, level_start_index)
        output = self.attend_keys(query, value, query_pos, key_padding_mask, *positions)
        dropped: Tensor = self.dropout(output)
        return dropped + (query if identity is None else identity)
