"""The operator in projects that call it by other names; each project's stand in its submodule.

`patch(model)` changes a model that is built already. `install()` lets the original, DINO and
Mask2Former import their compiled extension. `original`, `mmcv`, `groundingdino` and `transformers`
hold functions and layers under these projects' names and arguments, to be imported in the place of
theirs; `accelerate_transformers()` puts them there for models that are built later.
"""

from ddetr_ops.dropin import groundingdino, mmcv, original, transformers
from ddetr_ops.dropin.extension import install
from ddetr_ops.dropin.mmcv import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from ddetr_ops.dropin.original import MSDeformAttnFunction, ms_deform_attn_core_pytorch
from ddetr_ops.dropin.patching import PatchReport, patch
from ddetr_ops.dropin.transformers import accelerate_transformers, models_that_sample

__all__ = [
    "MSDeformAttnFunction",
    "MultiScaleDeformableAttnFunction",
    "PatchReport",
    "accelerate_transformers",
    "groundingdino",
    "install",
    "mmcv",
    "models_that_sample",
    "ms_deform_attn_core_pytorch",
    "multi_scale_deformable_attn_pytorch",
    "original",
    "patch",
    "transformers",
]
