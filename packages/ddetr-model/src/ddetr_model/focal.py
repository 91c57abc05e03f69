"""The focal loss (Lin et al. 2017), of training and of the matching."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["focal_loss", "focal_loss_difference"]


def focal_loss(logits: Tensor, alpha: float, *, is_object: bool) -> Tensor:
    """Weigh binary cross-entropy down where the answer is already right (equation 5, gamma 2).

    Args:
        logits: any shape.
        alpha: weight of objects; background weighs 1 - alpha.
        is_object: whether all of them ought to say that there is an object, or that there is none.

    Returns:
        The loss of each entry, in the shape of logits.
    """
    wrong, weight = (-logits, alpha) if is_object else (logits, 1 - alpha)
    # The cross-entropy of a wrong answer's logit is its soft-plus.
    return weight * wrong.sigmoid().square() * F.softplus(wrong)


def focal_loss_difference(logits: Tensor, alpha: float, weights: Tensor | float = 1.0) -> Tensor:
    """What the loss of each entry changes by if it is an object instead of background.

    As an object it counts `weights` times, of the shape of logits; as background once.
    """
    as_object = weights * focal_loss(logits, alpha, is_object=True)
    return as_object - focal_loss(logits, alpha, is_object=False)
