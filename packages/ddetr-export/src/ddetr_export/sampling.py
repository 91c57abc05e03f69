"""Deformable attention's sampling in standard ONNX operators, two ways.

`sample_by_grid` becomes GridSample (opset 16 and newer). `sample_by_gather` becomes Gather and
MatMul, which every opset has and no runtime is known to get wrong; in ONNX Runtime on the CPU it
is as fast. Every size but the batch is a Python int, so that it becomes a constant of the file.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level, H, W one level's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_by_grid(
    value: Tensor,  # (B, S, M, D)
    shapes_hw: Sequence[tuple[int, int]],  # L of them
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2), x then y, 0 to 1 inside the image
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:
    """Sample and sum by weight with grid_sample; (B, Q, M * D)."""
    queries, heads, levels, points, _ = map(int, sampling_locations.shape[1:])
    channels = int(value.shape[3])
    grids = 2 * sampling_locations - 1  # (B, Q, M, L, P, 2), -1 to 1
    sampled = []
    for index, level in enumerate(_split_levels(value, shapes_hw)):
        image = level.permute(0, 2, 3, 1).reshape(-1, channels, *shapes_hw[index])
        grid = grids[:, :, :, index].transpose(1, 2).reshape(-1, queries, points, 2)
        sampled.append(F.grid_sample(image, grid, align_corners=False))  # (B * M, D, Q, P)
    weights = attention_weights.transpose(1, 2).reshape(-1, 1, queries, levels * points)
    output = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # (B * M, D, Q)
    return output.reshape(-1, heads * channels, queries).transpose(1, 2)


def sample_by_gather(
    value: Tensor,  # (B, S, M, D)
    shapes_hw: Sequence[tuple[int, int]],  # L of them
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2), x then y, 0 to 1 inside the image
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:
    """Sample and sum by weight with gathers of whole rows; (B, Q, M * D)."""
    levels = _split_levels(value, shapes_hw)
    return torch.stack(
        [
            _gather_level(
                level, shape, sampling_locations[:, :, :, index], attention_weights[:, :, :, index]
            )
            for index, (level, shape) in enumerate(zip(levels, shapes_hw, strict=True))
        ]
    ).sum(0)


def _split_levels(value: Tensor, shapes_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    return torch.split(value, [height * width for height, width in shapes_hw], dim=1)


def _gather_level(
    level: Tensor,  # (B, H * W, M, D)
    shape_hw: tuple[int, int],
    locations: Tensor,  # (B, Q, M, P, 2)
    weights: Tensor,  # (B, Q, M, P)
) -> Tensor:
    """One level's share of the sum; (B, Q, M * D).

    A border of one zero pixel makes places outside the image count as zero without a mask.
    """
    height, width = shape_hw
    queries, heads, points, _ = map(int, locations.shape[1:])
    channels = int(level.shape[3])
    image = level.reshape(-1, height, width, heads, channels)
    rows = F.pad(image, (0, 0, 0, 0, 1, 1, 1, 1)).reshape(-1, channels)

    left, right_share = _corner_and_share(locations[..., 0], width)  # both (B, Q, M, P)
    top, bottom_share = _corner_and_share(locations[..., 1], height)
    # Whole numbers below 2**24, so float32 holds them exactly.
    place = ((top + 1) * (width + 2) + (left + 1)).to(torch.int64)
    images = torch.arange(level.shape[0], device=level.device).reshape(-1, 1, 1, 1)
    heads_index = torch.arange(heads, device=level.device).reshape(1, 1, -1, 1)
    top_left = (images * ((height + 2) * (width + 2)) + place) * heads + heads_index
    steps = [0, heads, (width + 2) * heads, (width + 3) * heads]
    corners = torch.stack([top_left + step for step in steps], dim=-1)  # (B, Q, M, P, 4)
    gathered = rows[corners.reshape(-1)]  # (B * Q * M * P * 4, D)
    gathered = gathered.reshape(-1, queries, heads, points * 4, channels)

    upper, lower = weights * (1 - bottom_share), weights * bottom_share
    left_share = 1 - right_share
    shares = torch.stack(
        [upper * left_share, upper * right_share, lower * left_share, lower * right_share], dim=-1
    )  # (B, Q, M, P, 4)
    shares = shares.reshape(-1, queries, heads, 1, points * 4)
    return torch.matmul(shares, gathered).reshape(-1, queries, heads * channels)


def _corner_and_share(location: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixel before each place, from -1 to size - 1, and the share of the pixel after it."""
    position = (location * size - 0.5).clamp(-1, size)
    corner = position.floor().clamp(max=size - 1)
    return corner, position - corner
