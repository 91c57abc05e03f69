"""The model's two kinds of attention, rewritten in operators that every opset has.

Every size but the batch is a Python int, so that it becomes a constant of the file.
B images, S pixels of all levels together, Q queries, C channels, M heads, D = C / M channels a
head, L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_export.graph.sampling import sample_by_gather

# value (B, S, M, D), sizes of the levels, x, y and weights of the sampling points (B, Q, M, L * P)
# each, 0 to 1 inside the image -> (B, Q, M * D)
Sampler = Callable[[Tensor, Sequence[tuple[int, int]], Tensor, Tensor, Tensor], Tensor]


class PlainForms:
    """Gives a network's parts the exported form of their attentions.

    It follows `ddetr_model.ExportForms`, which the parts know; they do not know this package.
    """

    def deformable_attention(self, attention: Any) -> nn.Module:
        """Give the attention with its sampling in plain operators."""
        return ExportedDeformableAttention(attention)

    def self_attention(self, attention: nn.MultiheadAttention) -> nn.Module:
        """Give the attention in matrix products."""
        return ExportedSelfAttention(attention)


class ExportedDeformableAttention(nn.Module):
    """A `MSDeformAttn` with its projections kept and its sampling replaced.

    The rows of the projection `sampling_offsets` are sorted, so that it gives all x before all y.
    In a checkpoint x and y alternate, and would have to be taken apart image by image.
    """

    def __init__(self, attention: Any, sample: Sampler = sample_by_gather) -> None:
        """Take over the projections of attention."""
        super().__init__()
        self.sample = sample
        self.num_heads, self.num_levels = attention.n_heads, attention.n_levels
        self.num_points = attention.n_points
        self.value_proj: nn.Linear = attention.value_proj
        self.sampling_offsets = _all_x_before_all_y(attention.sampling_offsets)
        self.attention_weights: nn.Linear = attention.attention_weights
        self.output_proj: nn.Linear = attention.output_proj

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
        queries, pixels = int(query.shape[1]), int(input_flatten.shape[1])
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(input_flatten)
        value = value.reshape(-1, pixels, heads, int(value.shape[-1]) // heads)  # (B, S, M, D)
        offsets = self.sampling_offsets(query)
        width = heads * levels * points
        x, y = (
            self._locations(
                each.reshape(-1, queries, heads, levels, points),
                reference_points,
                [shape_hw[1 - axis] for shape_hw in spatial_shapes],
                axis,
            )
            for axis, each in enumerate((offsets[..., :width], offsets[..., width:]))
        )
        weights = self.attention_weights(query).reshape(-1, queries, heads, levels * points)
        sampled = self.sample(value, spatial_shapes, x, y, weights.softmax(-1))
        return self.output_proj(sampled)  # type: ignore[no-any-return]

    def _locations(
        self,
        offsets: Tensor,  # (B, Q, M, L, P) of one axis
        reference_points: Tensor,  # (B, Q, L or 1, 2 or 4)
        sizes: Sequence[int],  # of the levels along that axis
        axis: int,  # 0 is x, 1 is y
    ) -> Tensor:
        """Sampling locations along one axis, 0 to 1 inside the image; (B, Q, M, L * P)."""
        heads, levels, points = map(int, offsets.shape[2:])
        references = reference_points[:, :, None, :, None]  # (B, Q, 1, L or 1, 1, 2 or 4)
        if reference_points.shape[-1] == 4:  # boxes: an offset of P is half a box
            step = references[..., 2 + axis] * (0.5 / points)
        else:
            step = 1 / torch.tensor(sizes, dtype=torch.float32)
            step = step[:, None].repeat(heads, 1, points)  # (M, L, P)
        locations = references[..., axis] + offsets * step
        return locations.reshape(-1, int(offsets.shape[1]), heads, levels * points)


class ExportedSelfAttention(nn.Module):
    """A batch-first `nn.MultiheadAttention` in matrix products: older opsets have no other form.

    PyTorch's own becomes scaled_dot_product_attention, which the older exporter writes only from
    opset 14 on.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Take over the projections of attention; nothing is copied."""
        super().__init__()
        self.num_heads = attention.num_heads
        self.in_proj_weight: Tensor = attention.in_proj_weight  # (3 * C, C)
        self.in_proj_bias: Tensor = attention.in_proj_bias  # (3 * C,)
        self.out_proj: nn.Linear = attention.out_proj

    def forward(
        self,
        query: Tensor,  # (B, Q, C)
        key: Tensor,  # (B, Q, C)
        value: Tensor,  # (B, Q, C)
        need_weights: bool = False,  # noqa: ARG002
    ) -> tuple[Tensor, None]:
        """Attend as `nn.MultiheadAttention` does in evaluation; (B, Q, C)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        queries, keys, values = (
            self._split_heads(F.linear(each, weight, bias))
            for each, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )  # (B, M, Q, D) each
        scaled = queries * int(queries.shape[-1]) ** -0.5
        attended = torch.matmul(scaled, keys.transpose(-1, -2)).softmax(-1)  # (B, M, Q, Q)
        mixed = torch.matmul(attended, values).transpose(1, 2)  # (B, Q, M, D)
        return self.out_proj(mixed.reshape(-1, *map(int, query.shape[1:]))), None

    def _split_heads(self, features: Tensor) -> Tensor:
        length, channels = map(int, features.shape[1:])
        heads = self.num_heads
        return features.reshape(-1, length, heads, channels // heads).transpose(1, 2)


def _all_x_before_all_y(offsets: nn.Linear) -> nn.Linear:
    """Copy a projection whose rows are of x and y in turn, with all rows of x first."""
    turned = nn.Linear(offsets.in_features, offsets.out_features)
    with torch.no_grad():
        for ours, theirs in zip(turned.parameters(), offsets.parameters(), strict=True):
            ours.copy_(torch.cat([theirs[0::2], theirs[1::2]]))
    return turned.requires_grad_(False)
