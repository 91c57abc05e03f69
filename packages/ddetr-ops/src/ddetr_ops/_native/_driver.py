"""Whether CUDA can run here: asked once, at the first import of this module."""

from __future__ import annotations

import torch

from ddetr_ops._native.library import core


def _ask() -> str:
    if not hasattr(core, "cuda_problem"):
        return "this build of ddetr-ops has no CUDA kernels"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return core.cuda_problem()


PROBLEM = _ask()
