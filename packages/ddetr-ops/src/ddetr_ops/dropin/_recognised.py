"""What computes the attention in other projects' code, and what computes the same here.

Known by name and by the names of the arguments; no project is imported for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.autograd import Function

from ddetr_ops.dropin.original import MSDeformAttnFunction, ms_deform_attn_core_pytorch
from ddetr_ops.dropin.transformers import MultiScaleDeformableAttention, PointsOfEachLevel
from ddetr_ops.module import DeformableAttention

# Layers of this package, and what replacement_of gives.
OUR_LAYERS = (DeformableAttention, MultiScaleDeformableAttention)

_SAMPLED = ("value", "value_spatial_shapes", "sampling_locations", "attention_weights")
_APPLIED = (
    "value",
    "value_spatial_shapes",
    "value_level_start_index",
    "sampling_locations",
    "attention_weights",
    "im2col_step",
)
_AUTOGRAD_FUNCTIONS = (
    "MSDeformAttnFunction",
    "MultiScaleDeformableAttnFunction",
    "MultiScaleDeformableAttnFunction_fp16",
    "MultiScaleDeformableAttnFunction_fp32",
)
_FUNCTIONS = {
    "ms_deform_attn_core_pytorch": _SAMPLED,
    "multi_scale_deformable_attn_pytorch": _SAMPLED,
    "multi_scale_deformable_attention": _SAMPLED,
    "multi_scale_deformable_attention_v2": (*_SAMPLED, "num_points_list", "method"),
}
# The first match in the name of a layer's module says whose it is.
_PROJECTS = {
    "transformers": "transformers",
    "mmcv": "mmcv",
    "groundingdino": "GroundingDINO",
    "detrex": "detrex",
    "mask2former": "Mask2Former",
    "dino": "DINO",
    "models.ops": "Deformable DETR",
}


def replacement_of(found: Any) -> Any:
    """Ours for a known function or autograd function of another project; else None."""
    if is_ours(found):
        return None
    name = getattr(found, "__name__", "")
    if name in _AUTOGRAD_FUNCTIONS and isinstance(found, type) and issubclass(found, Function):
        if _parameters(found.forward)[1:] == _APPLIED:
            return MSDeformAttnFunction
    elif inspect.isfunction(found) and name in _FUNCTIONS:
        parameters = _parameters(found)
        if parameters == _FUNCTIONS[name]:
            return (
                ms_deform_attn_core_pytorch if parameters == _SAMPLED else PointsOfEachLevel(found)
            )
    return None


def is_ours(found: Any) -> bool:
    """Whether a function or autograd function is one that replacement_of gives."""
    return (
        found is MSDeformAttnFunction
        or found is ms_deform_attn_core_pytorch
        or isinstance(found, PointsOfEachLevel)
    )


def samples_as_in_transformers(layer_class: type[nn.Module]) -> bool:
    """Whether a class is transformers' layer around the sampling alone, which has no parameters."""
    ours = MultiScaleDeformableAttention
    return layer_class.__name__ == ours.__name__ and _parameters(
        layer_class.forward
    ) == _parameters(ours.forward)


def project_of(layer_class: type[nn.Module]) -> str:
    """Name the project of a layer, or the package that it comes from."""
    path = layer_class.__module__
    found = (name for part, name in _PROJECTS.items() if f".{part}." in f".{path.lower()}.")
    return next(found, path.partition(".")[0])


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
