"""What the reader of every layout gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from ddetr_model.config import ModelConfig
from ddetr_model.images import PUBLISHED_PREPROCESS

__all__ = ["PUBLISHED_PREPROCESS", "ForeignCheckpoint"]


class ForeignCheckpoint(NamedTuple):
    """A checkpoint with its tensors under the published names."""

    weights: dict[str, Tensor]
    hints: dict[str, Any]  # ModelConfig fields that tensors do not tell
    categories: tuple[dict[str, Any], ...] = ()  # {"id", "name"}
    preprocess: dict[str, Any] | None = PUBLISHED_PREPROCESS  # of ddetr_data's PreprocessConfig
    config: ModelConfig | None = None  # where the file states all of it, as ours do
    metrics: Mapping[str, float] = MappingProxyType({})  # scores when saved
