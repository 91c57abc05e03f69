"""What the reader of every layout gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from ddetr_model.config import ModelConfig

__all__ = ["PUBLISHED_PREPROCESS", "ForeignCheckpoint"]


# The evaluation size and the ImageNet statistics that the published models are made for.
PUBLISHED_PREPROCESS: dict[str, Any] = {
    "mode": "shortest_edge",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "shortest_edge": 800,
    "max_size": 1333,
}


class ForeignCheckpoint(NamedTuple):
    """A checkpoint with its tensors under the published names."""

    weights: dict[str, Tensor]
    hints: dict[str, Any]  # of ModelConfig and LossConfig, what tensors do not tell
    categories: tuple[dict[str, Any], ...] = ()  # {"id", "name"}
    preprocess: dict[str, Any] | None = PUBLISHED_PREPROCESS  # of ddetr_data's PreprocessConfig
    config: ModelConfig | None = None  # where the file states all of it, as ours do
    metrics: Mapping[str, float] = MappingProxyType({})  # scores when saved
    ties_heads: bool = False  # decoder layers with box refinement may share a head
    parts: Mapping[str, str] = MappingProxyType({})  # classes of parts that are not stock

    @property
    def num_heads(self) -> int | None:
        """Attention heads, which no shape tells; None where the file does not say."""
        return self.config.nheads if self.config else self.hints.get("nheads")
