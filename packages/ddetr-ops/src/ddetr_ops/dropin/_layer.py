"""The attention layer as mmcv and GroundingDINO call it: with keys, positions and either order.

B images, S pixels of all levels together, Q queries, C channels of the model, L feature levels.
"""

from __future__ import annotations

from torch import Tensor

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.dropin.original import level_starts
from ddetr_ops.module import DeformableAttention


class QueryKeyValueAttention(DeformableAttention):
    """The projections with the arguments of a transformer's attention."""

    def __init__(
        self, channels: int, num_heads: int, num_levels: int, num_points: int, *, batch_first: bool
    ) -> None:
        super().__init__(channels, num_levels, num_heads, num_points)
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        self.batch_first = batch_first

    def init_weights(self) -> None:
        """Initialise as published."""
        self.reset_parameters()

    def attend_keys(
        self,
        query: Tensor,  # (Q, B, C), or (B, Q, C) with batch_first
        value: Tensor | None,  # (S, B, C), or (B, S, C) with batch_first; None: query
        query_pos: Tensor
        | None,  # like query; added to it, but not to the value that it stands for
        key_padding_mask: Tensor | None,  # (B, S), True or not 0 is padding
        reference_points: Tensor,  # (B, Q, L, 2) x y, or (B, Q, L, 4) cx cy w h; 0 to 1
        spatial_shapes: SpatialShapes,  # (L, 2), height then width
        level_start_index: Tensor | None,  # (L,)
    ) -> Tensor:
        """Attend from each query to the pixels around its reference points.

        Returns:
            As query is: (Q, B, C), or (B, Q, C) with batch_first.

        Raises:
            ValueError: reference_points has another last size than 2 or 4, or shapes disagree.
            TypeError: reference_points or spatial_shapes are missing.
        """
        pixels = query if value is None else value
        if query_pos is not None:
            query = query + query_pos
        if not self.batch_first:
            query, pixels = query.transpose(0, 1), pixels.transpose(0, 1)
        if level_start_index is None and spatial_shapes is not None:
            level_start_index = level_starts(spatial_shapes)
        mask = None if key_padding_mask is None else key_padding_mask.bool()
        output = self.attend(
            query, reference_points, pixels, spatial_shapes, level_start_index, mask
        )
        return output if self.batch_first else output.transpose(0, 1)
