"""Multi-scale deformable attention in plain PyTorch: the meaning of the operator.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ddetr_ops._arguments import SpatialShapes, check_arguments
from ddetr_ops._levels import level_sizes

# In units of grid_sample, where the image reaches from -1 to 1 and pixels beyond count as zero.
_FARTHEST, _OUTSIDE = 1e4, 4.0


def ms_deform_attn_reference(
    value: Tensor,  # (B, S, M, D)
    spatial_shapes: SpatialShapes,  # (L, 2) int64, height then width
    level_start_index: Tensor | None,  # (L,) int64
    sampling_locations: Tensor,  # (B, Q, M, L, P, 2), x then y, 0 to 1 inside the image
    attention_weights: Tensor,  # (B, Q, M, L, P)
) -> Tensor:
    """Sample value with grid_sample, level by level, and sum by weight.

    It compiles, exports and has every derivative. Sizes given as Python ints cost no host sync.
    Arithmetic is float32 at least; the levels lie one after the other in S.

    Returns:
        (B, Q, M * D) in value's dtype. Locations outside the image count as zero, and so do those
        that are NaN or infinite, as in the original kernels.

    Raises:
        ValueError: a shape disagrees with the others; the text names the argument.
        TypeError: a dtype that the operator does not take.
    """
    check_arguments(value, spatial_shapes, level_start_index, sampling_locations, attention_weights)
    shapes = level_sizes(spatial_shapes, level_start_index, num_pixels=value.shape[1])
    dtype = torch.promote_types(value.dtype, torch.float32)
    batch, queries, heads, _, _, _ = sampling_locations.shape
    channels = value.shape[3]
    levels = torch.split(value.to(dtype), [height * width for height, width in shapes], dim=1)
    grids = _inside_of_ints(2 * sampling_locations.to(dtype) - 1)  # (B, Q, M, L, P, 2), -1 to 1
    sampled = [
        _sample_level(level, shape, grids[:, :, :, index])
        for index, (level, shape) in enumerate(zip(levels, shapes, strict=True))
    ]
    weights = attention_weights.to(dtype).permute(0, 2, 1, 3, 4)  # (B, M, Q, L, P)
    weights = weights.flatten(3).flatten(0, 1).unsqueeze(1)  # (B*M, 1, Q, L*P)
    output = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # (B*M, D, Q)
    output = output.reshape(batch, heads * channels, queries).transpose(1, 2)
    return output.to(value.dtype).contiguous()  # (B, Q, M*D)


def _inside_of_ints(grids: Tensor) -> Tensor:
    """Put what grid_sample cannot turn into a pixel's index, NaN included, just outside."""
    return torch.where(grids.abs() <= _FARTHEST, grids, _OUTSIDE)


def _sample_level(
    level: Tensor,  # (B, H*W, M, D)
    shape_hw: tuple[int, int],
    grid: Tensor,  # (B, Q, M, P, 2)
) -> Tensor:  # (B*M, D, Q, P)
    batch, _, heads, channels = level.shape
    image = level.permute(0, 2, 3, 1).reshape(batch * heads, channels, *shape_hw)
    # Not aligned: a pixel's centre lies at 0.5, and 0 and 1 are the level's outer edges, so that a
    # location means the same on every level. Pixels beyond an edge count as zero.
    return F.grid_sample(
        image,
        grid.transpose(1, 2).flatten(0, 1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
