"""Names of groundingdino.models.GroundingDINO.ms_deform_attn (IDEA-Research/GroundingDINO).

B images, S pixels of all levels together, Q queries, L feature levels, C channels of the model.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.dropin import original
from ddetr_ops.dropin._layer import QueryKeyValueAttention

MultiScaleDeformableAttnFunction = original.MSDeformAttnFunction
multi_scale_deformable_attn_pytorch = original.ms_deform_attn_core_pytorch


class MultiScaleDeformableAttention(QueryKeyValueAttention):
    """GroundingDINO's layer: queries first unless batch_first, nothing added to the output."""

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        img2col_step: int = 64,
        batch_first: bool = False,
    ) -> None:
        """Build the four projections.

        Args:
            embed_dim: channels of queries and of the feature levels (C).
            num_heads: heads (M); must divide embed_dim.
            num_levels: feature levels (L).
            num_points: sampling points a head and level (P).
            img2col_step: not needed.
            batch_first: whether tensors are (B, Q, C) and not (Q, B, C).

        Raises:
            ValueError: a number is below 1 or embed_dim is no multiple of num_heads.
        """
        super().__init__(embed_dim, num_heads, num_levels, num_points, batch_first=batch_first)
        self.embed_dim = embed_dim
        self.im2col_step = img2col_step

    def forward(
        self,
        query: Tensor,  # (Q, B, C), or (B, Q, C) with batch_first
        key: Tensor | None = None,  # noqa: ARG002
        value: Tensor | None = None,  # (S, B, C), or (B, S, C) with batch_first
        query_pos: Tensor | None = None,  # like query
        key_padding_mask: Tensor | None = None,  # (B, S), True is padding
        reference_points: Tensor | None = None,  # (B, Q, L, 2 or 4)
        spatial_shapes: SpatialShapes | None = None,  # (L, 2)
        level_start_index: Tensor | None = None,  # (L,)
        **kwargs: Any,  # noqa: ARG002
    ) -> Tensor:
        """Attend; keys are not needed, and other keyword arguments are passed over.

        Returns:
            As query is: (Q, B, C), or (B, Q, C) with batch_first.

        Raises:
            ValueError: reference_points has another last size than 2 or 4, or shapes disagree.
            TypeError: reference_points or spatial_shapes are missing.
        """
        positions: Any = (reference_points, spatial_shapes, level_start_index)
        return self.attend_keys(query, value, query_pos, key_padding_mask, *positions)

    def freeze_sampling_offsets(self) -> None:
        """Keep the projection to offsets as it is in training."""
        self.sampling_offsets.requires_grad_(False)

    def freeze_attention_weights(self) -> None:
        """Keep the projection to weights as it is in training."""
        self.attention_weights.requires_grad_(False)

    def _reset_parameters(self) -> None:
        self.init_weights()
