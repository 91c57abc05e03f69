"""The compiled part: whether it is there, for which devices, and its kernels on tensors."""

from ddetr_ops._native.cpu import backward_cpu, backward_tensors, forward_cpu, forward_tensors
from ddetr_ops._native.cuda import backward_cuda, forward_cuda
from ddetr_ops._native.kernels import (
    current_instruction_set,
    has_threads,
    problem_on,
    use_kernels,
)
from ddetr_ops._native.library import READS_TENSORS
from ddetr_ops._native.points import points_backward_cpu, points_cpu

__all__ = [
    "READS_TENSORS",
    "backward_cpu",
    "backward_cuda",
    "backward_tensors",
    "current_instruction_set",
    "forward_cpu",
    "forward_cuda",
    "forward_tensors",
    "has_threads",
    "points_backward_cpu",
    "points_cpu",
    "problem_on",
    "use_kernels",
]
