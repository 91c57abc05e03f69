"""The rows of a model's tensors that stand for its classes, and giving them to other ids.

K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.weights import CLASS_HEADS

__all__ = ["class_rows", "move_class_rows"]

_LABEL_EMBEDDING = "denoising.label_embed."


def class_rows(model: DeformableDETR) -> dict[str, Tensor]:
    """Copy the tensors (K, ...) that have a row a class: class heads, and the noised objects'."""
    return {name: value.clone() for name, value in _of_classes(model).items()}


@torch.no_grad()
def move_class_rows(
    model: DeformableDETR, fresh: Mapping[str, Tensor], sources: Mapping[int, int | None]
) -> None:
    """Give class ids the rows of others.

    Args:
        model: what is changed.
        fresh: as class_rows gave it before weights were loaded.
        sources: for an id, the one whose row it gets, or None for that of `fresh`. Ids that are
            not named keep theirs.
    """
    loaded = class_rows(model)  # tensors may share memory: heads stand under two names
    for name, value in _of_classes(model).items():
        for id, source in sources.items():
            value[id] = fresh[name][id] if source is None else loaded[name][source]


def _of_classes(model: DeformableDETR) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in model.state_dict().items()
        if (CLASS_HEADS in name or name.startswith(_LABEL_EMBEDDING))
        and value.ndim
        and len(value) == model.config.num_classes
    }
