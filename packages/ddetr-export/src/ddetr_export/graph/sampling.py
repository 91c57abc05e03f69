"""Deformable attention's sampling in standard ONNX operators, two ways.

`sample_by_grid` becomes GridSample (opset 16 and newer). `sample_by_gather` becomes Gather and
MatMul, which every opset has and no runtime is known to get wrong; in ONNX Runtime on the CPU it
is the faster one. Every size but the batch is a Python int, so that it becomes a constant.

Operators that broadcast over axes of two or four numbers are many times slower than those over
long ones. So a place is not a pair: x and y are tensors of their own, and levels and points share
the last axis.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, H, W one level's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_GATHERED_BYTES = 2**26  # of an image at a time; above, one head after the other


def sample_by_grid(
    value: Tensor,  # (B, S, M, D)
    shapes_hw: Sequence[tuple[int, int]],  # L of them
    x: Tensor,  # (B, Q, M, L * P), 0 to 1 inside the image
    y: Tensor,  # (B, Q, M, L * P)
    weights: Tensor,  # (B, Q, M, L * P)
) -> Tensor:
    """Sample and sum by weight with grid_sample; (B, Q, M * D)."""
    queries, heads, places = map(int, x.shape[1:])
    channels, points = int(value.shape[3]), places // len(shapes_hw)
    x, y, weights = (each.permute(0, 2, 3, 1) for each in (2 * x - 1, 2 * y - 1, weights))
    areas = [height * width for height, width in shapes_hw]
    total: Tensor | None = None
    for level, pixels in enumerate(torch.split(value, areas, dim=1)):
        image = pixels.permute(0, 2, 3, 1).reshape(-1, channels, *shapes_hw[level])
        here = slice(level * points, (level + 1) * points)
        grid = torch.stack([x[:, :, here], y[:, :, here]], dim=-1)  # (B, M, P, Q, 2)
        sampled = F.grid_sample(
            image, grid.reshape(-1, points, queries, 2), align_corners=False
        )  # (B * M, D, P, Q)
        shares = weights[:, :, here].reshape(-1, 1, points, queries)
        summed = (sampled * shares).sum(2)
        total = summed if total is None else total + summed
    assert total is not None  # there is at least one level
    return total.reshape(-1, heads * channels, queries).transpose(1, 2)


def sample_by_gather(
    value: Tensor,  # (B, S, M, D)
    shapes_hw: Sequence[tuple[int, int]],  # L of them
    x: Tensor,  # (B, Q, M, L * P), 0 to 1 inside the image
    y: Tensor,  # (B, Q, M, L * P)
    weights: Tensor,  # (B, Q, M, L * P)
) -> Tensor:
    """Sample and sum by weight with gathers of whole rows; (B, Q, M * D)."""
    queries, heads, places = map(int, x.shape[1:])
    pixels, channels = int(value.shape[1]), int(value.shape[3])
    table = value.transpose(1, 2).reshape(-1, channels)  # (B * M * S, D)
    x, y, weights = (each.transpose(1, 2) for each in (x, y, weights))  # (B, M, Q, L * P)
    corners, shares = _corners(x, y, weights, shapes_hw)  # (B, M, Q, 4 * L * P) both
    images = torch.arange(value.shape[0], dtype=torch.int32).reshape(-1, 1, 1, 1)
    heads_index = torch.arange(heads, dtype=torch.int32).reshape(1, -1, 1, 1)
    corners = corners + (images * heads + heads_index) * pixels

    gathered_bytes = queries * heads * 4 * places * channels * 4
    together = heads if gathered_bytes <= _MOST_GATHERED_BYTES else 1
    summed = [
        torch.matmul(some.reshape(-1, together, queries, 1, 4 * places), F.embedding(rows, table))
        for rows, some in zip(
            torch.split(corners, together, dim=1), torch.split(shares, together, dim=1), strict=True
        )
    ]  # each (B, heads of it, Q, 1, D)
    output = torch.cat([each.reshape(-1, together, queries, channels) for each in summed], dim=1)
    return output.transpose(1, 2).reshape(-1, queries, heads * channels)


def _corners(
    x: Tensor,  # (B, M, Q, L * P)
    y: Tensor,
    weights: Tensor,
    shapes_hw: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor]:
    """The four pixels around each place, and their weights; (B, M, Q, 4 * L * P) both.

    Pixels are int32 and count from the first level's first; four times all places follow each
    other, so that nothing has to be interleaved.
    """
    repeats = int(x.shape[-1]) // len(shapes_hw)
    areas = [height * width for height, width in shapes_hw]
    first_pixels = accumulate(areas[:-1], initial=0)
    heights, widths, starts = (
        torch.tensor([float(each) for each in sizes]).repeat_interleave(repeats)
        for sizes in (*zip(*shapes_hw, strict=True), first_pixels)
    )  # (L * P) each
    single_row, single_column = (1 in sizes for sizes in zip(*shapes_hw, strict=True))
    left, left_share, right_share = _neighbours(x, widths, single_column)
    top, top_share, bottom_share = _neighbours(y, heights, single_row)
    # Whole numbers below 2**24, so float32 holds them exactly.
    top_left = (top * widths + left + starts).to(torch.int32)
    # NaN becomes some negative index, but may spoil its own image alone. Not clamp: opset 11 has
    # none of whole numbers.
    top_left = torch.where(top_left < 0, torch.zeros((), dtype=torch.int32), top_left)
    right = (widths > 1).to(torch.int32)  # a level of one column has no second one
    below = (widths * (heights > 1)).to(torch.int32)
    steps = (0, right, below, right + below)
    pixels = torch.cat([top_left + step for step in steps], dim=-1)
    upper, lower = weights * top_share, weights * bottom_share
    shares = torch.cat(
        [upper * left_share, upper * right_share, lower * left_share, lower * right_share], dim=-1
    )
    return pixels, shares


def _neighbours(place: Tensor, size: Tensor, has_single: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The first of two pixels of one axis around each place, its share and the second one's.

    Both are pixels of the level for every place: next to an edge, and outside, they are the two
    at that edge, and a share is what is left of 1 after the distance, if anything. A level of
    one pixel on this axis (has_single tells whether there is one) has no second share.
    """
    position = place * size - 0.5
    first = torch.minimum(position.floor(), (size - 2).clamp(min=0)).clamp(min=0)
    after = position - first
    second_share = F.relu(1 - (after - 1).abs())
    if has_single:
        second_share = second_share * (size > 1)
    return first, F.relu(1 - after.abs()), second_share
