"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

from ddetr_export.__about__ import __version__

__all__ = ["__version__"]
