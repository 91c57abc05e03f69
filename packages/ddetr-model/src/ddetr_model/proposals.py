"""Two-stage proposals: every pixel of the memory is a candidate box (Zhu et al. 2021, section 4.2).

B images, S pixels of all levels together, L feature levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddetr_model.pyramid import Pyramid

__all__ = ["propose_boxes"]

FINEST_BOX = 0.05  # side of a proposal on the first level, as a part of the image; doubles a level
MARGIN = 0.01  # proposals nearer to 0 or 1 than this are not used


def propose_boxes(pyramid: Pyramid) -> tuple[Tensor, Tensor]:
    """Centre a box of its level's size on every pixel.

    Returns:
        (B or 1, S, 4) cxcywh logits, infinite where there is no proposal, and
        (B or 1, S) bool, True where there is one: inside the image and not at its very border.
    """
    centers = pyramid.pixel_centers()  # (B or 1, S, 2)
    levels = torch.arange(len(pyramid.shapes_hw), device=centers.device)
    sides = pyramid.per_pixel((FINEST_BOX * 2.0**levels)[None, :, None].expand(-1, -1, 2))
    boxes = torch.cat([centers, sides.expand(centers.shape[0], -1, -1)], dim=-1)
    usable = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(dim=-1)
    if pyramid.padding is not None:
        usable = usable & ~pyramid.padding
    logits = torch.log(boxes / (1 - boxes))
    return logits.masked_fill(~usable[..., None], float("inf")), usable
