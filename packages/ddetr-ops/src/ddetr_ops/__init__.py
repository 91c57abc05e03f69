"""Multi-scale deformable attention for PyTorch: one operator, CPU and CUDA, for every torch."""

from ddetr_ops.__about__ import __version__

__all__ = ["__version__"]
