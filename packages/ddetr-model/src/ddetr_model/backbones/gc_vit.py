"""Global Context Vision Transformer (Hatamizadeh et al. 2023), for images of any size.

Windows attend to themselves; in every second block their queries come from the whole image,
pooled to the size of one window. Parameter names are timm's; at 224 x 224 the features equal
timm's. B images, H and W pixels of a stage, C channels, N pixels a window, M heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import StochasticDepth

from ddetr_model.backbones._gc_vit_convolutions import Downsample, GlobalQuery, Stem

__all__ = ["VARIANTS", "GCViT", "Variant"]


class Variant(NamedTuple):
    """The numbers that tell one GCViT from another; tuples have an entry a stage."""

    depths: tuple[int, int, int, int]
    width: int  # channels of the first stage; doubles a stage
    heads: tuple[int, int, int, int]
    mlp_ratio: float = 3.0
    layer_scale: float | None = None
    drop_path: float = 0.2  # of the last block; grows from 0
    windows: tuple[int, int, int, int] = (7, 7, 14, 7)


VARIANTS = {
    "gc_vit_xxtiny": Variant((2, 2, 6, 2), 64, (2, 4, 8, 16)),
    "gc_vit_xtiny": Variant((3, 4, 6, 5), 64, (2, 4, 8, 16)),
    "gc_vit_tiny": Variant((3, 4, 19, 5), 64, (2, 4, 8, 16)),
    "gc_vit_small": Variant((3, 4, 19, 5), 96, (3, 6, 12, 24), 2.0, 1e-5, 0.3),
    "gc_vit_base": Variant((3, 4, 19, 5), 128, (4, 8, 16, 32), 2.0, 1e-5, 0.5),
    "gc_vit_large": Variant((3, 4, 19, 5), 192, (6, 12, 24, 48), 2.0, 1e-5, 0.5),
    "gc_vit_large_384": Variant(
        (3, 4, 19, 5), 192, (6, 12, 24, 48), 2.0, 1e-5, 0.5, (12, 12, 24, 12)
    ),
}
# Halvings between a stage's map and one window, at the size a variant is published for.
QUERY_HALVINGS = (3, 2, 0, 0)


class GCViT(nn.Module):
    """The feature pyramid of a GCViT: stages at strides 4, 8, 16 and 32."""

    def __init__(
        self, variant: Variant, stages: Sequence[int], *, output_norms: bool = False
    ) -> None:
        """Build the stages up to the last wanted one, with random weights.

        Args:
            variant: which GCViT.
            stages: 0 to 3, rising: the stages whose maps forward gives.
            output_norms: norm each of these maps, as published detectors do, instead of the
                last stage alone, as the published classifiers do.
        """
        super().__init__()
        self.wanted = tuple(stages)
        self.num_channels = [variant.width * 2**stage for stage in stages]
        self.stem = Stem(variant.width)
        num_blocks = sum(variant.depths)
        rates = [variant.drop_path * block / (num_blocks - 1) for block in range(num_blocks)]
        self.stages = nn.Sequential()
        for index in range(max(stages) + 1):
            start = sum(variant.depths[:index])
            self.stages.append(Stage(variant, index, rates[start : start + variant.depths[index]]))
        if output_norms:
            self.stages[-1].norm = nn.Identity()
        for stage, channels in zip(self.wanted, self.num_channels, strict=True):
            norm = LayerNorm2d(channels) if output_norms else nn.Identity()
            self.add_module(f"norm{stage}", norm)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Turn images (B, 3, H, W) into one map (B, C, H / stride, W / stride) a wanted stage."""
        features, maps = self.stem(images), []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in self.wanted:
                norm = self.get_submodule(f"norm{index}")
                maps.append(norm(features).contiguous())
        return maps


class Stage(nn.Module):
    """Halve the map, pool the whole of it into one window of queries, attend."""

    def __init__(self, variant: Variant, index: int, drop_rates: Sequence[float]) -> None:
        """Build stage 0 to 3 of a variant; drop_rates has an entry a block."""
        super().__init__()
        width = variant.width * 2**index
        window = variant.windows[index]
        self.downsample = Downsample(width // 2, width) if index else nn.Identity()
        self.global_block = GlobalQuery(width, QUERY_HALVINGS[index], window)
        self.blocks = nn.ModuleList(
            Block(variant, index, use_global=depth % 2 == 1, drop_rate=rate)
            for depth, rate in enumerate(drop_rates)
        )
        last = len(variant.depths) - 1
        self.norm = nn.LayerNorm(width) if index == last else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2 * C, H / 2, W / 2), the first stage to its own size."""
        features = self.downsample(features)
        global_query = self.global_block(features).flatten(2).transpose(1, 2)  # (B, N, C)
        pixels = features.permute(0, 2, 3, 1)  # (B, H, W, C)
        for block in self.blocks:
            pixels = block(pixels, global_query)
        return self.norm(pixels).permute(0, 3, 1, 2).contiguous()  # type: ignore[no-any-return]


class Block(nn.Module):
    """Window attention and a perceptron, each scaled, dropped at random and added."""

    def __init__(self, variant: Variant, index: int, *, use_global: bool, drop_rate: float) -> None:
        """Build a block of stage `index`; use_global takes queries from the whole image."""
        super().__init__()
        width = variant.width * 2**index
        hidden = int(width * variant.mlp_ratio)
        self.window = variant.windows[index]
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, variant.heads[index], self.window, use_global)
        self.ls1 = _layer_scale(width, variant.layer_scale)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, hidden)
        self.ls2 = _layer_scale(width, variant.layer_scale)
        self.drop_path = StochasticDepth(drop_rate, "row")

    def forward(self, pixels: Tensor, global_query: Tensor) -> Tensor:
        """Attend within each window, (B, H, W, C) to the same shape."""
        attended = self._attend(self.norm1(pixels), global_query)
        pixels = pixels + self.drop_path(self.ls1(attended))
        return pixels + self.drop_path(self.ls2(self.mlp(self.norm2(pixels))))  # type: ignore[no-any-return]

    def _attend(self, pixels: Tensor, global_query: Tensor) -> Tensor:
        batch, height, width, channels = pixels.shape
        side = self.window
        pixels = F.pad(pixels, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = pixels.shape[1] // side, pixels.shape[2] // side
        windows = pixels.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        windows = windows.reshape(batch, rows * columns, side * side, channels)
        windows = self.attn(windows, global_query)  # (B, windows, N, C)
        windows = windows.reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        pixels = windows.reshape(batch, rows * side, columns * side, channels)
        return pixels[:, :height, :width]


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, biased by how far two pixels are apart."""

    def __init__(self, width: int, num_heads: int, window: int, use_global: bool) -> None:
        """Build the projections; with use_global the queries come from outside."""
        super().__init__()
        self.num_heads = num_heads
        self.use_global = use_global
        self.rel_pos = RelativePositionBias(window, num_heads)
        self.qkv = nn.Linear(width, width * (2 if use_global else 3))
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        windows: Tensor,  # (B, windows, N, C)
        global_query: Tensor,  # (B, N, C)
    ) -> Tensor:
        """Mix the pixels of each window, (B, windows, N, C)."""
        projected = [self._split(part) for part in self._project(windows, global_query)]
        query, key, value = projected  # (B, windows or 1, M, N, C / M)
        query = query * query.shape[-1] ** -0.5
        attention = (query @ key.transpose(-2, -1) + self.rel_pos()).softmax(dim=-1)
        mixed = (attention @ value).transpose(2, 3).flatten(3)
        return self.proj(mixed)  # type: ignore[no-any-return]

    def _project(self, windows: Tensor, global_query: Tensor) -> tuple[Tensor, ...]:
        parts = self.qkv(windows).chunk(2 if self.use_global else 3, dim=-1)
        return (global_query[:, None], *parts) if self.use_global else parts

    def _split(self, pixels: Tensor) -> Tensor:
        heads = pixels.reshape(*pixels.shape[:3], self.num_heads, -1)
        return heads.transpose(2, 3)


class RelativePositionBias(nn.Module):
    """A learned number for each head and each offset between two pixels of a window."""

    index: Tensor  # (N * N,)

    def __init__(self, window: int, num_heads: int) -> None:
        """Make a table of (2 * window - 1) squared offsets."""
        super().__init__()
        self.num_pixels = window**2
        span = 2 * window - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(span**2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        positions = torch.stack([y, x]).flatten(1)  # (2, N)
        offsets = positions[:, :, None] - positions[:, None] + window - 1  # (2, N, N), from 0
        index = (offsets[0] * span + offsets[1]).flatten()
        self.register_buffer("index", index, persistent=False)

    def forward(self) -> Tensor:
        """Give the bias of every pair of pixels, (M, N, N)."""
        pairs = self.relative_position_bias_table[self.index]
        return pairs.reshape(self.num_pixels, self.num_pixels, -1).permute(2, 0, 1)


class Perceptron(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        """Widen to hidden channels and back."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(pixels)))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A learned factor for each channel, small at first."""

    def __init__(self, width: int, start: float) -> None:
        """Start every factor at the same number."""
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale (..., C)."""
        return pixels * self.gamma


def _layer_scale(width: int, start: float | None) -> nn.Module:
    return nn.Identity() if start is None else LayerScale(width, start)
