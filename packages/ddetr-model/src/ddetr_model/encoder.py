"""The encoder: every pixel of every level attends to a few sampling points on all levels.

B images, S pixels of all levels together, C channels, L feature levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_model.config import ModelConfig
from ddetr_model.export_form import ExportForms
from ddetr_model.pyramid import Pyramid
from ddetr_model.recompute import run_layer
from ddetr_ops import MSDeformAttn

__all__ = ["DeformableEncoder", "DeformableEncoderLayer", "EncoderLayer"]


class EncoderLayer(Protocol):
    """An `nn.Module` that serves as a layer of the encoder; see `DeformableEncoderLayer`."""

    def __call__(
        self,
        pixels: Tensor,  # (B, S, C)
        reference_points: Tensor,  # (B or 1, S, L, 2), x then y, fractions of each padded level
        pyramid: Pyramid,
    ) -> Tensor:
        """Give every pixel what it has learned from the others, (B, S, C)."""
        ...


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward, each added to its input and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        """Build one layer of the width, heads and points that config asks for."""
        super().__init__()
        width = config.hidden_dim
        self.self_attn = MSDeformAttn(
            width, config.num_feature_levels, config.nheads, config.enc_n_points
        )
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, config.dim_feedforward)
        self.linear2 = nn.Linear(config.dim_feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout_ratio)

    def forward(
        self,
        pixels: Tensor,  # (B, S, C)
        reference_points: Tensor,  # (B or 1, S, L, 2)
        pyramid: Pyramid,
    ) -> Tensor:
        """Let each pixel gather from its neighbourhood on all levels, (B, S, C)."""
        # Positions steer where and how much is sampled; what is sampled is the content alone.
        attended = self.self_attn(
            pixels + pyramid.positions,
            reference_points,
            pixels,
            pyramid.shapes_hw,
            None,
            pyramid.padding,
        )
        pixels = self.norm1(pixels + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(pixels), inplace=not torch.is_grad_enabled()))
        return self.norm2(pixels + self.dropout(self.linear2(hidden)))  # type: ignore[no-any-return]

    def export_form(self, forms: ExportForms) -> nn.Module:
        """Give this layer with the exporter's attention."""
        self.add_module("self_attn", forms.deformable_attention(self.self_attn))
        return self


class DeformableEncoder(nn.Module):
    """The stack of encoder layers."""

    def __init__(
        self,
        config: ModelConfig,
        layer: Callable[[ModelConfig], nn.Module] = DeformableEncoderLayer,
    ) -> None:
        """Build config.enc_layers layers, each by a call of `layer` that gives an EncoderLayer."""
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(config.enc_layers))
        self.recompute = False  # activation checkpointing

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Turn the pyramid's pixels into the memory that the decoder reads, (B, S, C)."""
        # A pixel looks around itself on every level (section 4.1): the points are fixed, and the
        # same for all layers.
        reference_points = pyramid.reference_points()  # (B, S, L, 2)
        pixels = pyramid.pixels
        for layer in self.layers:
            pixels = run_layer(layer, self.recompute, pixels, reference_points, pyramid)
        return pixels
