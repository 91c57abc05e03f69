"""Deformable DETR in PyTorch with the published parameter names, losses and post-processing."""

from ddetr_model.__about__ import __version__

__all__ = ["__version__"]
