"""Whether CUDA can run here: asked once, at the first import of this module."""

from __future__ import annotations

import torch

from ddetr_ops._native.library import core

# By CUDA's major version the first driver for it, which runs what each of its minor versions built.
_DRIVERS = {12: 525, 13: 580}


def _ask() -> str:
    if not hasattr(core, "cuda_problem"):
        return "this build of ddetr-ops has no CUDA kernels"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    runtime, driver, oldest = core.cuda_versions()
    if driver // 1000 < runtime // 1000:
        return (
            f"the NVIDIA driver knows CUDA {driver // 1000}.{driver % 1000 // 10} and this build "
            f"of ddetr-ops needs driver {_DRIVERS[runtime // 1000]} or newer"
        )
    for device in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(device)
        if 10 * major + minor < oldest:
            return (
                f"CUDA device {device} has compute capability {major}.{minor} and this build of "
                f"ddetr-ops needs {oldest // 10}.{oldest % 10} or newer"
            )
    return core.cuda_problem()


PROBLEM = _ask()
