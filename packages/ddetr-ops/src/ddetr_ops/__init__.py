"""Multi-scale deformable attention for PyTorch: one operator, CPU and CUDA, for every torch."""

from ddetr_ops.__about__ import __version__
from ddetr_ops._native import use_kernels
from ddetr_ops.diagnosis import doctor
from ddetr_ops.dropin import patch
from ddetr_ops.functional import ms_deform_attn
from ddetr_ops.module import MSDeformAttn
from ddetr_ops.points import sampling_points, sampling_points_reference
from ddetr_ops.reference import ms_deform_attn_reference

__all__ = [
    "MSDeformAttn",
    "__version__",
    "doctor",
    "ms_deform_attn",
    "ms_deform_attn_reference",
    "patch",
    "sampling_points",
    "sampling_points_reference",
    "use_kernels",
]
