"""The operator inside the models of Hugging Face transformers, and their names.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_ops._arguments import SpatialShapes
from ddetr_ops.dropin.original import ms_deform_attn_core_pytorch
from ddetr_ops.functional import ms_deform_attn

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


class MultiScaleDeformableAttention(nn.Module):
    """Stands for the layer of the same name in transformers' models."""

    def forward(
        self,
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Tensor,  # (L, 2)
        value_spatial_shapes_list: list[tuple[int, int]],  # the same as ints
        level_start_index: Tensor,  # (L,)
        sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
        attention_weights: Tensor,  # (B, Q, M, L, P)
        im2col_step: int = 64,  # noqa: ARG002
    ) -> Tensor:  # (B, Q, M*D)
        """Sample and sum, (B, Q, M * D); ints spare the reference a look at a GPU's tensor."""
        levels: tuple[Any, Any] = (value_spatial_shapes, level_start_index)
        if value_spatial_shapes_list:
            levels = (value_spatial_shapes_list, None)
        return ms_deform_attn(value, *levels, sampling_locations, attention_weights)


@dataclass(frozen=True)
class PointsOfEachLevel:
    """Stands for the function of RT-DETRv2, D-FINE and DEIM: each level has points of its own.

    It is called with value (B, S, M, D), which D-FINE's own code gives as a (B, M, D, pixels) for
    each level, sizes (L, 2), locations (B, Q, M, sum of P, 2) and weights (B, Q, M, sum of P), and
    with the points of each level; it gives (B, Q, M * D).
    """

    original: Callable[..., Tensor]

    def __call__(
        self,
        value: Tensor | Sequence[Tensor],  # (B, S, M, D), or L of (B, M, D, pixels)
        value_spatial_shapes: SpatialShapes,  # (L, 2)
        sampling_locations: Tensor,  # (B, Q, M, sum of P, 2)
        attention_weights: Tensor,  # (B, Q, M, sum of P)
        num_points_list: Sequence[int],  # (L,)
        method: str = "default",
    ) -> Tensor:  # (B, Q, M*D)
        """Fill levels up to the same number of points; other methods are left to the original."""
        points = (sampling_locations, attention_weights)
        if method != "default":
            return self.original(value, value_spatial_shapes, *points, num_points_list, method)
        if not isinstance(value, Tensor):
            value = torch.cat([level.permute(0, 3, 1, 2) for level in value], 1)
        most = max(num_points_list)
        locations = [
            F.pad(part, (0, 0, 0, most - part.shape[3]), value=_OUTSIDE)
            for part in torch.split(sampling_locations, list(num_points_list), 3)
        ]
        weights = [
            F.pad(part, (0, most - part.shape[3]))
            for part in torch.split(attention_weights, list(num_points_list), 3)
        ]
        return ms_deform_attn_core_pytorch(
            value, value_spatial_shapes, torch.stack(locations, 3), torch.stack(weights, 3)
        )


# What transformers' models call, and what replaces it, made from the original.
_REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    "MultiScaleDeformableAttention": lambda _: MultiScaleDeformableAttention,
    "multi_scale_deformable_attention": lambda _: ms_deform_attn_core_pytorch,
    "multi_scale_deformable_attention_v2": PointsOfEachLevel,
}
