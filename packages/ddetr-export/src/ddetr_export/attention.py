"""The model's two kinds of attention, rewritten so that every opset can say them.

B images, S pixels of all levels together, Q queries, C channels, M heads, D = C / M channels a
head, L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_export.sampling import sample_by_gather

# value (B, S, M, D), sizes of the levels, sampling locations (B, Q, M, L, P, 2), attention weights
# (B, Q, M, L, P) -> (B, Q, M * D)
Sampler = Callable[[Tensor, Sequence[tuple[int, int]], Tensor, Tensor], Tensor]


class ExportedDeformableAttention(nn.Module):
    """A `MSDeformAttn` with its projections kept and its sampling replaced."""

    def __init__(self, attention: nn.Module, sample: Sampler = sample_by_gather) -> None:
        """Take over the projections of attention; nothing is copied."""
        super().__init__()
        self.attention = attention
        self.sample = sample

    def forward(
        self,
        query: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2) x y, or (B, Q, L, 4) cx cy w h
        input_flatten: Tensor,  # (B, S, C)
        spatial_shapes: Sequence[tuple[int, int]],  # L of height, width
        _level_start_index: None,
        _padding_mask: None,
    ) -> Tensor:
        """Attend as `MSDeformAttn` does without padding; (B, Q, C)."""
        batch, queries, _ = query.shape
        own = self.attention
        heads, levels, points = int(own.n_heads), int(own.n_levels), int(own.n_points)
        value = own.value_proj(input_flatten)
        value = value.reshape(batch, value.shape[1], heads, -1)  # (B, S, M, D)
        offsets = own.sampling_offsets(query).reshape(batch, queries, heads, levels, points, 2)
        weights = own.attention_weights(query).reshape(batch, queries, heads, levels * points)
        weights = weights.softmax(-1).reshape(batch, queries, heads, levels, points)
        references = reference_points[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 or 4)
        if reference_points.shape[-1] == 4:
            step = references[..., 2:] * (0.5 / points)
        else:
            widths_heights = [(width, height) for height, width in spatial_shapes]
            step = 1 / torch.tensor(widths_heights, dtype=torch.float32)[:, None]  # (L, 1, 2)
        locations = references[..., :2] + offsets * step
        sampled = self.sample(value, spatial_shapes, locations, weights)
        return own.output_proj(sampled)


class ExportedSelfAttention(nn.Module):
    """A batch-first `nn.MultiheadAttention` in matrix products: older opsets have no other form."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Take over the projections of attention; nothing is copied."""
        super().__init__()
        self.attention = attention

    def forward(
        self,
        query: Tensor,  # (B, Q, C)
        key: Tensor,  # (B, Q, C)
        value: Tensor,  # (B, Q, C)
        need_weights: bool = False,  # noqa: ARG002
    ) -> tuple[Tensor, None]:
        """Attend as `nn.MultiheadAttention` does in evaluation; (B, Q, C)."""
        own = self.attention
        weights = own.in_proj_weight.chunk(3)
        biases = own.in_proj_bias.chunk(3)
        queries, keys, values = (
            self._split_heads(F.linear(each, weight, bias))
            for each, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )  # (B, M, Q, D) each
        scale = own.head_dim**-0.5
        shares = torch.matmul(queries * scale, keys.transpose(-1, -2)).softmax(-1)  # (B, M, Q, Q)
        mixed = torch.matmul(shares, values).transpose(1, 2).flatten(2)  # (B, Q, C)
        return own.out_proj(mixed), None

    def _split_heads(self, features: Tensor) -> Tensor:
        heads = self.attention.num_heads
        return features.reshape(*features.shape[:2], heads, -1).transpose(1, 2)
