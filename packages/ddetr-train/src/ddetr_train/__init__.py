"""Training, evaluation and inference for Deformable DETR on PyTorch Lightning."""

from ddetr_train.__about__ import __version__

__all__ = ["__version__"]
