"""The operator under the names and signatures that other projects already call.

The original repository: replace `from functions.ms_deform_attn_func import MSDeformAttnFunction`
by `from ddetr_ops.dropin import MSDeformAttnFunction`. Hugging Face transformers: call
`accelerate_transformers()` once, before the models are built.
"""

from __future__ import annotations

import importlib

from torch import Tensor, nn

from ddetr_ops.functional import ms_deform_attn

__all__ = ["MSDeformAttnFunction", "MultiScaleDeformableAttention", "accelerate_transformers"]

# Every module of transformers that holds its own copy of the layer.
_TRANSFORMERS_MODULES = (
    "deformable_detr",
    "grounding_dino",
    "lw_detr",
    "mm_grounding_dino",
    "omdet_turbo",
    "pp_doclayout_v2",
    "pp_doclayout_v3",
    "rf_detr",
    "rt_detr",
)


class MSDeformAttnFunction:
    """Stands for the original's autograd function: the same `apply`, differentiable as before."""

    @staticmethod
    def apply(
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Tensor,  # (L, 2)
        value_level_start_index: Tensor,  # (L,)
        sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
        attention_weights: Tensor,  # (B, Q, M, L, P)
        im2col_step: int = 64,  # noqa: ARG004
    ) -> Tensor:  # (B, Q, M*D)
        """Sample and sum; im2col_step is taken and not needed, any batch size is fine."""
        return ms_deform_attn(
            value,
            value_spatial_shapes,
            value_level_start_index,
            sampling_locations,
            attention_weights,
        )


class MultiScaleDeformableAttention(nn.Module):
    """Stands for the layer of the same name in transformers' models."""

    def forward(
        self,
        value: Tensor,  # (B, S, M, D)
        value_spatial_shapes: Tensor,  # (L, 2)
        value_spatial_shapes_list: list[tuple[int, int]],  # noqa: ARG002
        level_start_index: Tensor,  # (L,)
        sampling_locations: Tensor,  # (B, Q, M, L, P, 2)
        attention_weights: Tensor,  # (B, Q, M, L, P)
        im2col_step: int = 64,  # noqa: ARG002
    ) -> Tensor:  # (B, Q, M*D)
        """Sample and sum; the list of sizes and im2col_step are taken and not needed."""
        return ms_deform_attn(
            value, value_spatial_shapes, level_start_index, sampling_locations, attention_weights
        )


def accelerate_transformers(*models: str) -> list[str]:
    """Put the layer into models of transformers that are built from now on.

    Args:
        models: names as transformers writes them, such as "deformable_detr"; none means every
            model that is known to have the layer, whose import takes some seconds.

    Returns:
        The names of the transformers modules that were changed.

    Raises:
        ImportError: transformers is missing, or none of its modules has the layer.
    """
    changed = []
    for name in models or _TRANSFORMERS_MODULES:
        path = f"transformers.models.{name}.modeling_{name}"
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name == "transformers":
                raise
            continue
        if hasattr(module, "MultiScaleDeformableAttention"):
            vars(module)["MultiScaleDeformableAttention"] = MultiScaleDeformableAttention
            changed.append(path)
    if not changed:
        raise ImportError("this transformers has no MultiScaleDeformableAttention to replace")
    return changed
