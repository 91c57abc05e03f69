"""The attention layer of Deformable DETR (Zhu et al. 2021, section 4.1) around the operator.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, C channels of the model (M * D).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.functional import ms_deform_attn
from ddetr_ops.points import sampling_points, sampling_points_reference


class DeformableAttention(nn.Module):
    """The four projections with the published names and initialisation, and what they compute.

    A layer adds a forward with its project's arguments. `core` does the sampling; an instance may
    be given another function of the same arguments, such as one that exports to a plugin node.
    """

    core: Callable[..., Tensor] = staticmethod(ms_deform_attn)

    def __init__(
        self, d_model: int = 256, n_levels: int = 4, n_heads: int = 8, n_points: int = 4
    ) -> None:
        """Build the four projections.

        Args:
            d_model: channels of queries and of the feature levels (C).
            n_levels: feature levels (L).
            n_heads: heads (M); must divide d_model.
            n_points: sampling points a head and level (P).

        Raises:
            ValueError: a number is below 1 or d_model is no multiple of n_heads.
        """
        super().__init__()
        if min(d_model, n_levels, n_heads, n_points) < 1:
            raise ValueError(
                "d_model, n_levels, n_heads and n_points must be at least 1, "
                f"got {(d_model, n_levels, n_heads, n_points)}"
            )
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of n_heads {n_heads}")
        self.d_model = d_model
        self.n_levels = n_levels
        self.n_heads = n_heads
        self.n_points = n_points
        self.sampling_offsets = nn.Linear(d_model, n_heads * n_levels * n_points * 2)
        self.attention_weights = nn.Linear(d_model, n_heads * n_levels * n_points)
        self.value_proj = nn.Linear(d_model, d_model)
        self.output_proj = nn.Linear(d_model, d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as published: head m looks along 2 pi m / M, point p is p + 1 pixels away."""
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(self._initial_offsets().flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def attend(
        self,
        query: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2) x y, or (B, Q, L, 4) cx cy w h; 0 to 1
        pixels: Tensor,  # (B, S, C)
        spatial_shapes: SpatialShapes,  # (L, 2), height then width
        level_start_index: Tensor | None,  # (L,)
        padding_mask: Tensor | None = None,  # (B, S) bool, True is padding
    ) -> Tensor:  # (B, Q, C)
        """Attend from each query to P points near its reference point on every level."""
        value = self._project_value(pixels, padding_mask)  # (B, S, M, D)
        locations, weights = self._sampling_points(query, reference_points, spatial_shapes)
        output = self.core(value, spatial_shapes, level_start_index, locations, weights)
        projected: Tensor = self.output_proj(output)
        return projected

    def extra_repr(self) -> str:
        """The four sizes, for print(model)."""
        return (
            f"d_model={self.d_model}, n_levels={self.n_levels}, "
            f"n_heads={self.n_heads}, n_points={self.n_points}"
        )

    def _initial_offsets(self) -> Tensor:  # (M, L, P, 2) in pixels of each level
        angles = torch.arange(self.n_heads, dtype=torch.float32) * (2.0 * math.pi / self.n_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)  # (M, 2)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        distances = torch.arange(1, self.n_points + 1, dtype=torch.float32)  # (P,)
        offsets = directions[:, None, None] * distances[:, None]  # (M, 1, P, 2)
        return offsets.expand(-1, self.n_levels, -1, -1)

    def _project_value(self, input_flatten: Tensor, padding_mask: Tensor | None) -> Tensor:
        value: Tensor = self.value_proj(input_flatten)  # (B, S, C)
        if padding_mask is not None:  # after the projection, whose bias would make padding non-zero
            value = value.masked_fill(padding_mask[..., None], 0.0)
        return value.reshape(*value.shape[:2], self.n_heads, value.shape[2] // self.n_heads)

    def _sampling_points(
        self, query: Tensor, reference_points: Tensor, spatial_shapes: SpatialShapes
    ) -> tuple[Tensor, Tensor]:  # (B, Q, M, L, P, 2) and (B, Q, M, L, P), float32
        sizes = (*query.shape[:2], self.n_heads, self.n_levels, self.n_points)
        offsets: Tensor = self.sampling_offsets(query).reshape(*sizes, 2)
        logits: Tensor = self.attention_weights(query).reshape(sizes)
        # Another core may be there to be traced: then nothing but plain PyTorch stands around it.
        locate = sampling_points if self.core is ms_deform_attn else sampling_points_reference
        return locate(reference_points, offsets, logits, spatial_shapes)


class MSDeformAttn(DeformableAttention):
    """Multi-scale deformable attention with the published parameter names and initialisation."""

    def forward(
        self,
        query: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2) x y, or (B, Q, L, 4) cx cy w h; 0 to 1
        input_flatten: Tensor,  # (B, S, C)
        spatial_shapes: SpatialShapes,  # (L, 2), height then width
        level_start_index: Tensor | None,  # (L,)
        padding_mask: Tensor | None = None,  # (B, S) bool, True is padding
    ) -> Tensor:
        """Attend from each query to P points near its reference point on every level (equation 3).

        Padded pixels count as zero. Locations and weights are float32 also under autocast:
        16-bit locations would cost a tenth of the output.

        Returns:
            (B, Q, C).

        Raises:
            ValueError: reference_points has another last size than 2 or 4, or shapes disagree.
        """
        return self.attend(
            query, reference_points, input_flatten, spatial_shapes, level_start_index, padding_mask
        )
