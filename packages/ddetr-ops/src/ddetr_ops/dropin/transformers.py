"""The operator inside the models of Hugging Face transformers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddetr_ops.dropin.functions import (
    MultiScaleDeformableAttention,
    multi_scale_deformable_attn_pytorch,
)

_OUTSIDE = 2.0  # a location beyond every image


def accelerate_transformers(*models: str) -> list[str]:
    """Put the operator into models of transformers that are built from now on.

    Args:
        models: names as transformers writes them, such as "deformable_detr"; none means every
            model that samples this way, whose import takes some seconds.

    Returns:
        The names of the transformers modules that were changed.

    Raises:
        ImportError: transformers is missing, or none of its modules samples this way.
    """
    changed = []
    for name in models or models_that_sample():
        path = f"transformers.models.{name}.modeling_{name}"
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name == "transformers":
                raise
            continue
        found = {name: vars(module)[name] for name in _REPLACEMENTS if hasattr(module, name)}
        for name, original in found.items():
            vars(module)[name] = _REPLACEMENTS[name](original)
        if found:
            changed.append(path)
    if not changed:
        raise ImportError("this transformers has no MultiScaleDeformableAttention to replace")
    return changed


def models_that_sample() -> list[str]:
    """Models of the installed transformers whose sources define what can be replaced."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("transformers is not installed", name="transformers")
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    definitions = [f"\n{kind} {name}(" for name in _REPLACEMENTS for kind in ("class", "def")]
    found = []
    for path in sorted(folder.glob("*/modeling_*.py")):
        source = path.read_text(encoding="utf-8")
        if any(definition in source for definition in definitions):
            found.append(path.parent.name)
    return found


def _with_points_of_each_level(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of RT-DETRv2, D-FINE and DEIM: as many points as a level likes, L*P in a row."""

    def multi_scale_deformable_attention_v2(
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Sequence[tuple[int, int]],  # (L, 2)
        sampling_locations: Tensor,  # (B, Q, M, sum of P, 2)
        attention_weights: Tensor,  # (B, Q, M, sum of P)
        num_points_list: Sequence[int],  # (L,)
        method: str = "default",
    ) -> Tensor:  # (B, Q, M*D)
        if method != "default":
            return original(
                value,
                value_spatial_shapes,
                sampling_locations,
                attention_weights,
                num_points_list,
                method,
            )
        most = max(num_points_list)
        locations = [
            F.pad(part, (0, 0, 0, most - part.shape[3]), value=_OUTSIDE)
            for part in torch.split(sampling_locations, list(num_points_list), 3)
        ]
        weights = [
            F.pad(part, (0, most - part.shape[3]))
            for part in torch.split(attention_weights, list(num_points_list), 3)
        ]
        return multi_scale_deformable_attn_pytorch(
            value, value_spatial_shapes, torch.stack(locations, 3), torch.stack(weights, 3)
        )

    return multi_scale_deformable_attention_v2


# What transformers' models call, and what replaces it, made from the original.
_REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    "MultiScaleDeformableAttention": lambda _: MultiScaleDeformableAttention,
    "multi_scale_deformable_attention": lambda _: multi_scale_deformable_attn_pytorch,
    "multi_scale_deformable_attention_v2": _with_points_of_each_level,
}
