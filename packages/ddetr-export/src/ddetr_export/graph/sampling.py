"""Deformable attention's sampling in standard ONNX operators, two ways.

`sample_by_grid` becomes GridSample (opset 16 and newer). `sample_by_gather` becomes Gather and
MatMul, which every opset has and no runtime is known to get wrong; in ONNX Runtime on the CPU it
is the faster one. Every size but the batch is a Python int, so that it becomes a constant.

Operators that broadcast over axes of two or four numbers are many times slower than those over
long ones. So a sampling location is not a pair: x and y are tensors of their own, and levels and
points have one axis together, the last one.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, H, W one level's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_GATHERED_BYTES = 2**26  # gathered pixels of an image; above, one head after the other


def sample_by_grid(
    value: Tensor,  # (B, S, M, D)
    shapes_hw: Sequence[tuple[int, int]],  # L of them
    x: Tensor,  # (B, Q, M, L * P), 0 to 1 inside the image
    y: Tensor,  # (B, Q, M, L * P)
    weights: Tensor,  # (B, Q, M, L * P)
) -> Tensor:
    """Sample and sum by weight with grid_sample; (B, Q, M * D)."""
    queries, heads, num_samples = map(int, x.shape[1:])  # num_samples is L * P
    channels, points = int(value.shape[3]), num_samples // len(shapes_hw)
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
        level_weights = weights[:, :, here].reshape(-1, 1, points, queries)
        summed = (sampled * level_weights).sum(2)
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
    queries, heads, num_samples = map(int, x.shape[1:])  # num_samples is L * P
    pixels, channels = int(value.shape[1]), int(value.shape[3])
    table = value.transpose(1, 2).reshape(-1, channels)  # (B * M * S, D)
    x, y, weights = (each.transpose(1, 2) for each in (x, y, weights))  # (B, M, Q, L * P)
    corners, corner_weights = _corners(x, y, weights, shapes_hw)  # (B, M, Q, 4 * L * P) both
    images = torch.arange(value.shape[0], dtype=torch.int32).reshape(-1, 1, 1, 1)
    heads_index = torch.arange(heads, dtype=torch.int32).reshape(1, -1, 1, 1)
    corners = corners + (images * heads + heads_index) * pixels

    gathered_bytes = queries * heads * 4 * num_samples * channels * 4
    together = heads if gathered_bytes <= _MOST_GATHERED_BYTES else 1
    summed = [
        torch.matmul(
            some.reshape(-1, together, queries, 1, 4 * num_samples), F.embedding(rows, table)
        )
        for rows, some in zip(
            torch.split(corners, together, dim=1),
            torch.split(corner_weights, together, dim=1),
            strict=True,
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
    """The four pixels around each sampling point, and their weights; (B, M, Q, 4 * L * P) both.

    Pixels are int32 and count from the first level's first. All points' top left corners come
    first, then all top right ones and so on, so that nothing has to be interleaved.

    int32 is enough for the pixels of a whole batch, takes half the memory of PyTorch's int64, and
    is all that TensorRT before 10 has.
    """
    repeats = int(x.shape[-1]) // len(shapes_hw)
    areas = [height * width for height, width in shapes_hw]
    first_pixels = accumulate(areas[:-1], initial=0)
    heights, widths, starts = (
        torch.tensor([float(each) for each in sizes]).repeat_interleave(repeats)
        for sizes in (*zip(*shapes_hw, strict=True), first_pixels)
    )  # (L * P) each
    single_row, single_column = (1 in sizes for sizes in zip(*shapes_hw, strict=True))
    left, left_weight, right_weight = _neighbours(x, widths, single_column)
    top, top_weight, bottom_weight = _neighbours(y, heights, single_row)
    # Whole numbers below 2**24, so float32 holds them exactly.
    top_left = (top * widths + left + starts).to(torch.int32)
    # NaN becomes some negative index, but may spoil its own image alone. Not clamp: opset 11 has
    # none of whole numbers.
    top_left = torch.where(top_left < 0, torch.zeros((), dtype=torch.int32), top_left)
    right = (widths > 1).to(torch.int32)  # a level of one column has no second one
    below = (widths * (heights > 1)).to(torch.int32)
    steps = (0, right, below, right + below)
    pixels = torch.cat([top_left + step for step in steps], dim=-1)
    upper, lower = weights * top_weight, weights * bottom_weight
    corner_weights = torch.cat(
        [upper * left_weight, upper * right_weight, lower * left_weight, lower * right_weight],
        dim=-1,
    )
    return pixels, corner_weights


def _neighbours(
    location: Tensor,  # (..., L * P), along one axis, 0 to 1 inside the image
    size: Tensor,  # (L * P), of the points' levels along that axis, in pixels
    has_single: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Two neighbouring pixels along one axis: the first one, its weight and the second's weight.

    Both are pixels of the level for every point: next to an edge, and outside, they are the two
    at that edge. A weight is 1 less the distance in pixels, and 0 from there on. A level of one
    pixel on this axis (has_single tells whether there is one) gives the second pixel no weight.
    """
    position = location * size - 0.5  # pixel centres lie at halves
    first = torch.minimum(position.floor(), (size - 2).clamp(min=0)).clamp(min=0)
    after = position - first
    second_weight = F.relu(1 - (after - 1).abs())
    if has_single:
        second_weight = second_weight * (size > 1)
    return first, F.relu(1 - after.abs()), second_weight
