"""Boxes: centre form and corner form, overlap, and the logits that the decoder refines.

N and M boxes; leading dimensions broadcast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddetr_model.precision import widen

__all__ = [
    "cxcywh_to_xyxy",
    "generalized_iou",
    "intersection_over_first",
    "inverse_sigmoid",
    "refine_boxes",
]

REFERENCE_EPS = 1e-5  # logits of references nearer than this to 0 or 1 are cut, as published
MIN_AREA = 1e-9  # keeps quotients and their gradients finite for boxes without area


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Turn centre and size (..., 4) into left, top, right, bottom (..., 4), in the same unit."""
    center, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def generalized_iou(
    boxes1_xyxy: Tensor,  # (..., 4)
    boxes2_xyxy: Tensor,  # (..., 4), broadcast against boxes1_xyxy
) -> Tensor:
    """Give IoU minus the empty fraction of the hull (Rezatofighi et al. 2019), -1 to 1; (...).

    Two boxes without area give 0 instead of NaN, so that a degenerate prediction stays trainable.
    """
    overlap = _intersection(boxes1_xyxy, boxes2_xyxy)
    union = _area(boxes1_xyxy) + _area(boxes2_xyxy) - overlap
    left, top, right, bottom = _coordinates(torch.minimum, torch.maximum, boxes1_xyxy, boxes2_xyxy)
    hull = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    return overlap / union.clamp(min=MIN_AREA) - (hull - union) / hull.clamp(min=MIN_AREA)


def intersection_over_first(
    boxes1_xyxy: Tensor,  # (..., 4)
    boxes2_xyxy: Tensor,  # (..., 4), broadcast against boxes1_xyxy
) -> Tensor:
    """Give which part of the first box lies in the second, 0 to 1; (...). 0 without area."""
    overlap = _intersection(boxes1_xyxy, boxes2_xyxy)
    return overlap / _area(boxes1_xyxy).clamp(min=MIN_AREA)


def inverse_sigmoid(x: Tensor, eps: float = REFERENCE_EPS) -> Tensor:
    """Give the logits of x (any shape, 0 to 1), at most log(1 / eps) from zero.

    eps is subnormal in float16, hence the cast.
    """
    x = widen(x).clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def refine_boxes(
    deltas: Tensor,  # (..., 4), logits
    reference_points: Tensor,  # (..., 2) x, y or (..., 4) cx, cy, w, h; 0 to 1
    eps: float = REFERENCE_EPS,
) -> Tensor:
    """Move reference points by predicted logits (Zhu et al. 2021, appendix A.4).

    Returns:
        (..., 4) cxcywh, 0 to 1, in float32 or wider. A point gives the centre alone; the size is
        all delta's.
    """
    deltas = widen(deltas)
    logits = inverse_sigmoid(reference_points, eps)
    known = logits.shape[-1]
    return torch.cat([deltas[..., :known] + logits, deltas[..., known:]], dim=-1).sigmoid()


def _area(boxes_xyxy: Tensor) -> Tensor:
    left, top, right, bottom = boxes_xyxy.unbind(-1)
    return (right - left) * (bottom - top)


def _intersection(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor) -> Tensor:
    left, top, right, bottom = _coordinates(torch.maximum, torch.minimum, boxes1_xyxy, boxes2_xyxy)
    return (right - left).clamp(min=0) * (bottom - top).clamp(min=0)


def _coordinates(
    of_starts: Callable[[Tensor, Tensor], Tensor],
    of_ends: Callable[[Tensor, Tensor], Tensor],
    boxes1_xyxy: Tensor,
    boxes2_xyxy: Tensor,
) -> list[Tensor]:  # four of (...)
    # One by one: an axis of four at the end of a table of pairs is slow to work on.
    pairs = zip(boxes1_xyxy.unbind(-1), boxes2_xyxy.unbind(-1), strict=True)
    chosen = (of_starts, of_starts, of_ends, of_ends)
    return [choose(*pair) for choose, pair in zip(chosen, pairs, strict=True)]
