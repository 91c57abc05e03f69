"""The `model:` block of a spec: one page of keys, of which each package owns its part."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, Field

from ddetr_model import LossConfig, ModelConfig
from ddetr_train import GroupNames, TrainConfig

Part = TypeVar("Part", bound=BaseModel)


# The bases from the last to the first give the order of the keys.
class ModelBlock(GroupNames, LossConfig, ModelConfig):
    """Architecture, losses, and what the optimiser is told of the network's parameters."""

    clip_max_norm: float = Field(
        0.1, ge=0, description="Gradient norm limit where train.clip_grad_norm is not given."
    )

    def architecture(self, **changes: Any) -> ModelConfig:
        """Give the network's part, with other values for some keys."""
        return ModelConfig(**{**self._given(ModelConfig), **changes})

    def losses(self) -> LossConfig:
        """Give the part of the losses."""
        return LossConfig(**self._given(LossConfig))

    def completed(self, train: TrainConfig) -> TrainConfig:
        """Give the `train` block what stands here: the names, and the limit where it has none."""
        changes: dict[str, Any] = {"optim": train.optim.model_copy(update=self._given(GroupNames))}
        if "clip_grad_norm" not in train.model_fields_set:
            changes["clip_grad_norm"] = self.clip_max_norm
        return train.model_copy(update=changes)

    def _given(self, part: type[Part]) -> dict[str, Any]:
        return self.model_dump(include=set(part.model_fields), exclude_unset=True)
