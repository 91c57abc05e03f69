"""Numbers that 16 bits cannot hold well: boxes, their logits, losses and costs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["widen"]


def widen(x: Tensor) -> Tensor:
    """Turn float16 and bfloat16 (any shape) into float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
