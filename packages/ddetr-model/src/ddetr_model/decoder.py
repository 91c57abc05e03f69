"""The decoder: queries attend to each other, then to a few sampling points of the encoder's memory.

B images, Q queries, S pixels of all levels together, C channels, L feature levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_model.boxes import refine_boxes
from ddetr_model.config import ModelConfig
from ddetr_model.export_form import ExportForms
from ddetr_model.pyramid import Pyramid
from ddetr_model.recompute import run_layer
from ddetr_ops import MSDeformAttn

__all__ = ["Blocked", "DecoderLayer", "DeformableDecoder", "DeformableDecoderLayer", "Queries"]


class Blocked(NamedTuple):
    """What queries must not look at in self-attention; True is blocked."""

    pairs: Tensor  # (Q, Q) bool, who looks, then at whom
    queries: Tensor  # (B, Q) bool, what nobody may look at


class Queries(NamedTuple):
    """What the decoder starts from."""

    content: Tensor  # (B, Q, C)
    positions: Tensor  # (B, Q, C)
    reference_points: Tensor  # (B, Q, 2) x, y or (B, Q, 4) cx, cy, w, h; parts of the image
    blocked: Blocked | None = None  # with denoising queries alone


class DecoderLayer(Protocol):
    """An `nn.Module` that serves as a layer of the decoder; see `DeformableDecoderLayer`."""

    def __call__(
        self,
        content: Tensor,  # (B, Q, C)
        positions: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2 or 4), fractions of each padded level
        memory: Tensor,  # (B, S, C)
        pyramid: Pyramid,
        blocked: Blocked | None = None,
    ) -> Tensor:
        """Give every query what it has learned from the others and from the image, (B, Q, C)."""
        ...


class DeformableDecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention and a feed-forward, each added and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        """Build one layer of the width, heads and points that config asks for."""
        super().__init__()
        width, dropout = config.hidden_dim, config.dropout_ratio
        self.cross_attn = MSDeformAttn(
            width, config.num_feature_levels, config.nheads, config.dec_n_points
        )
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, config.nheads, dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, config.dim_feedforward)
        self.linear2 = nn.Linear(config.dim_feedforward, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        content: Tensor,  # (B, Q, C)
        positions: Tensor,  # (B, Q, C)
        reference_points: Tensor,  # (B, Q, L, 2 or 4), parts of each padded level
        memory: Tensor,  # (B, S, C)
        pyramid: Pyramid,
        blocked: Blocked | None = None,
    ) -> Tensor:
        """Let the queries agree on who takes what, then look at the image, (B, Q, C)."""
        positioned = content + positions
        masks = {}
        if blocked is not None:
            masks = {"attn_mask": blocked.pairs, "key_padding_mask": blocked.queries}
        exchanged, _ = self.self_attn(positioned, positioned, content, need_weights=False, **masks)
        content = self.norm2(content + self.dropout(exchanged))
        seen = self.cross_attn(
            content + positions,
            reference_points,
            memory,
            pyramid.shapes_hw,
            None,
            pyramid.padding,
        )
        content = self.norm1(content + self.dropout(seen))
        hidden = self.dropout(F.relu(self.linear1(content), inplace=not torch.is_grad_enabled()))
        return self.norm3(content + self.dropout(self.linear2(hidden)))  # type: ignore[no-any-return]

    def export_form(self, forms: ExportForms) -> nn.Module:
        """Give this layer with the exporter's attentions."""
        self.add_module("cross_attn", forms.deformable_attention(self.cross_attn))
        self.add_module("self_attn", forms.self_attention(self.self_attn))
        return self


class DeformableDecoder(nn.Module):
    """The stack of decoder layers, with boxes that each layer may refine for the next."""

    def __init__(
        self,
        config: ModelConfig,
        layer: Callable[[ModelConfig], nn.Module] = DeformableDecoderLayer,
    ) -> None:
        """Build config.dec_layers layers, each by a call of `layer` that gives a DecoderLayer."""
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(config.dec_layers))
        self.with_box_refine = config.with_box_refine
        self.reference_eps = config.reference_eps
        self.recompute = False  # activation checkpointing

    def forward(
        self,
        queries: Queries,
        memory: Tensor,  # (B, S, C)
        pyramid: Pyramid,
        box_heads: nn.ModuleList,  # one for each layer
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run the layers.

        Returns:
            For each layer the queries' content (B, Q, C) and their boxes (B, Q, 4) cxcywh 0 to 1.
        """
        content, positions, reference_points, blocked = queries
        contents, boxes = [], []
        for layer, box_head in zip(self.layers, box_heads, strict=False):
            on_levels = _on_levels(reference_points, pyramid.valid_ratios)
            content = run_layer(
                layer, self.recompute, content, positions, on_levels, memory, pyramid, blocked
            )
            contents.append(content)
            boxes.append(refine_boxes(box_head(content), reference_points, self.reference_eps))
            if self.with_box_refine:
                reference_points = boxes[-1].detach()
        return contents, boxes


def _on_levels(
    reference_points: Tensor,  # (B, Q, 2 or 4), parts of the image
    valid_ratios: Tensor,  # (B or 1, L, 2)
) -> Tensor:  # (B, Q, L, 2 or 4), parts of each padded level
    ratios = torch.cat([valid_ratios] * (reference_points.shape[-1] // 2), dim=-1)
    return reference_points[:, :, None] * ratios[:, None]
