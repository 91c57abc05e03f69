"""The prediction heads: one linear layer for classes, a small perceptron for boxes.

C channels, K classes.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_model.config import ModelConfig

__all__ = ["BoxHead", "build_heads"]

PRIOR_PROBABILITY = 0.01  # of any class at the start of training (Lin et al. 2017, section 3.3)
INITIAL_SIZE_LOGIT = -2.0  # first boxes are sigmoid(-2) = 0.12 of the image wide and high


class BoxHead(nn.Module):
    """Three linear layers with ReLU between them, from a query's content to four box logits."""

    def __init__(self, width: int) -> None:
        """Start from logits of zero: a box begins exactly at its reference."""
        super().__init__()
        last = nn.Linear(width, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), last])

    def forward(self, content: Tensor) -> Tensor:
        """Predict box logits (..., 4) from content (..., C)."""
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(content)))))  # type: ignore[no-any-return]


def build_heads(config: ModelConfig) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Build class and box heads for each decoder layer, and one more for the first of two stages.

    With box refinement every layer has its own; without, all layers share one of each.
    """
    count = config.dec_layers + config.two_stage
    if not config.with_box_refine:
        class_head, box_head = _class_head(config), BoxHead(config.hidden_dim)
        _set_initial_size(box_head)
        return nn.ModuleList([class_head] * count), nn.ModuleList([box_head] * count)
    class_heads = nn.ModuleList(_class_head(config) for _ in range(count))
    box_heads = nn.ModuleList(BoxHead(config.hidden_dim) for _ in range(count))
    if not config.two_stage:
        _set_initial_size(box_heads[0])
    return class_heads, box_heads


def _class_head(config: ModelConfig) -> nn.Linear:
    head = nn.Linear(config.hidden_dim, config.num_classes)
    nn.init.constant_(head.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    return head


def _set_initial_size(box_head: nn.Module) -> None:
    last = box_head.get_submodule("layers.2")
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias[2:], INITIAL_SIZE_LOGIT)
