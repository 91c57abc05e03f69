"""Samples of different sizes as one batch with a padding mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddetr_data.torch.dataset import Target


class Batch(NamedTuple):
    """B samples, each at the top left of H x W pixels."""

    images: Tensor  # (B, 3, H, W) float32, zero on padding
    mask: Tensor  # (B, H, W) bool, true on padding
    targets: list[Target]


def collate(
    items: Sequence[tuple[Tensor, Target]],  # pixels (3, H_i, W_i)
    fixed_size_hw: tuple[int, int] | None = None,
) -> Batch:
    """Pad to fixed_size_hw, or else to the largest height and the largest width.

    Images lie in memory with their channels last if those of the samples do.

    Raises:
        ValueError: a sample is larger than fixed_size_hw.
    """
    largest_hw = tuple(max(pixels.shape[axis] for pixels, _ in items) for axis in (1, 2))
    height, width = fixed_size_hw or largest_hw
    if largest_hw[0] > height or largest_hw[1] > width:
        raise ValueError(f"samples of up to {largest_hw} (h, w) do not fit into {(height, width)}")
    images = _zeros(len(items), height, width, channels_last=_has_channels_last(items[0][0]))
    mask = torch.ones(len(items), height, width, dtype=torch.bool)
    for index, (pixels, _) in enumerate(items):  # at the top left: boxes need no offset
        images[index, :, : pixels.shape[1], : pixels.shape[2]] = pixels
        mask[index, : pixels.shape[1], : pixels.shape[2]] = False
    return Batch(images, mask, [target for _, target in items])


def _zeros(count: int, height: int, width: int, *, channels_last: bool) -> Tensor:
    if channels_last:
        return torch.zeros(count, height, width, 3).permute(0, 3, 1, 2)
    return torch.zeros(count, 3, height, width)


def _has_channels_last(pixels: Tensor) -> bool:
    return pixels.permute(1, 2, 0).is_contiguous() and not pixels.is_contiguous()
