"""What computes the attention in other projects' code, and what computes the same here.

Known by name and by the names of the arguments; no project is imported for it.
"""

from __future__ import annotations

import functools
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
_OF_EACH_LEVEL = (*_SAMPLED, "num_points_list", "method")
_FUNCTIONS = {
    "ms_deform_attn_core_pytorch": _SAMPLED,
    "multi_scale_deformable_attn_pytorch": _SAMPLED,
    "multi_scale_deformable_attention": _SAMPLED,
    "multi_scale_deformable_attention_v2": _OF_EACH_LEVEL,
    "deformable_attention_core_func": _SAMPLED,
    "deformable_attention_core_func_v2": _OF_EACH_LEVEL,
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
    "zoo.rtdetr": "RT-DETR",
}


def replacement_of(found: Any) -> Any:
    """Ours for a known function or autograd function of another project; else None.

    Nothing is asked of other objects: some answer every question with an error of their own.
    """
    if type(found) is functools.partial:
        ours = replacement_of(found.func)
        return ours and functools.partial(ours, *found.args, **found.keywords)
    if isinstance(found, type) and issubclass(found, Function):
        if found.__name__ in _AUTOGRAD_FUNCTIONS and _parameters(found.forward)[1:] == _APPLIED:
            return MSDeformAttnFunction
    elif inspect.isfunction(found) and found is not ms_deform_attn_core_pytorch:
        parameters = _FUNCTIONS.get(found.__name__)
        if parameters and _parameters(found) == parameters:
            return (
                ms_deform_attn_core_pytorch if parameters == _SAMPLED else PointsOfEachLevel(found)
            )
    return None


def is_ours(found: Any) -> bool:
    """Whether a function or autograd function is one that replacement_of gives."""
    if type(found) is functools.partial:
        return is_ours(found.func)
    return (
        found is MSDeformAttnFunction
        or found is ms_deform_attn_core_pytorch
        or type(found) is PointsOfEachLevel
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
