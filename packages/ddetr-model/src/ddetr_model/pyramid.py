"""All feature levels of a batch laid out in one row of pixels, the form that attention reads.

B images, L levels, S pixels of all levels together, C channels, H and W pixels of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddetr_model.padding import valid_ratios

__all__ = ["Pyramid", "flatten_levels"]


@dataclass(frozen=True)
class Pyramid:
    """Pixels of every level and their centres; without padding a batch has one geometry."""

    pixels: Tensor  # (B, S, C)
    positions: Tensor  # (B or 1, S, C)
    padding: Tensor | None  # (B, S) bool, True is padding
    shapes_hw: tuple[tuple[int, int], ...]  # L pairs; they sum to S
    valid_ratios: Tensor  # (B or 1, L, 2), x then y: the part of each level that is image

    def pixel_centers(self) -> Tensor:
        """Give each pixel's centre as a part of its image, x then y, (B or 1, S, 2).

        Quotients of whole numbers of pixels: an image's own pixels have the same bits in any batch.
        """
        ratios = self.valid_ratios.unbind(1)  # L of (B or 1, 2)
        return torch.cat(
            [_centers_of(*level) for level in zip(self.shapes_hw, ratios, strict=True)], 1
        )

    def per_pixel(self, per_level: Tensor) -> Tensor:
        """Repeat a value of each level (B, L, ...) for each of its pixels, (B, S, ...)."""
        repeated = [
            per_level[:, level : level + 1].expand(-1, height * width, *per_level.shape[2:])
            for level, (height, width) in enumerate(self.shapes_hw)
        ]
        return torch.cat(repeated, dim=1)

    def reference_points(self) -> Tensor:
        """Give every pixel's centre in the image, seen on each padded level.

        Returns:
            (B or 1, S, L, 2), x then y: centre / own valid ratio * each level's valid ratio.
        """
        return self.pixel_centers()[:, :, None] * self.valid_ratios[:, None]


def flatten_levels(
    maps: Sequence[Tensor],  # L of (B, C, H, W)
    positions: Sequence[Tensor],  # L of (B or 1, C, H, W)
    masks: Sequence[Tensor] | None,  # L of (B, H, W) bool, True is padding
) -> Pyramid:
    """Lay the levels (B, C, H, W) out in one row (B, S, C), finest first as given."""
    shapes_hw = tuple((level.shape[-2], level.shape[-1]) for level in maps)
    if masks is None:
        padding, ratios = None, maps[0].new_ones(1, len(maps), 2, dtype=torch.float32)
    else:
        padding = torch.cat([mask.flatten(1) for mask in masks], dim=1)
        ratios = torch.stack([valid_ratios(mask) for mask in masks], dim=1)
    return Pyramid(_to_rows(maps), _to_rows(positions), padding, shapes_hw, ratios)


def _to_rows(levels: Sequence[Tensor]) -> Tensor:
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def _centers_of(
    shape_hw: tuple[int, int],
    valid_ratios: Tensor,  # (B, 2), x then y
) -> Tensor:  # (B, H*W, 2)
    height, width = shape_hw
    y, x = (torch.arange(n, dtype=torch.float32, device=valid_ratios.device) for n in shape_hw)
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)  # (H*W, 2)
    sizes = torch.tensor([width, height], dtype=torch.float32, device=valid_ratios.device)
    return (pixels + 0.5) / (valid_ratios * sizes).round()[:, None]
