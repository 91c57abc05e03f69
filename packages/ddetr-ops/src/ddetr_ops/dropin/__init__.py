"""The operator under the names and signatures that other projects already call.

The original repository: replace `from functions.ms_deform_attn_func import MSDeformAttnFunction`
by `from ddetr_ops.dropin import MSDeformAttnFunction`; mmcv and detrex likewise with
`MultiScaleDeformableAttnFunction`. Hugging Face transformers: call `accelerate_transformers()`
once, before the models are built.
"""

from ddetr_ops.dropin.functions import (
    MSDeformAttnFunction,
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    ms_deform_attn_core_pytorch,
    multi_scale_deformable_attn_pytorch,
)
from ddetr_ops.dropin.transformers import accelerate_transformers, models_that_sample

__all__ = [
    "MSDeformAttnFunction",
    "MultiScaleDeformableAttention",
    "MultiScaleDeformableAttnFunction",
    "accelerate_transformers",
    "models_that_sample",
    "ms_deform_attn_core_pytorch",
    "multi_scale_deformable_attn_pytorch",
]
