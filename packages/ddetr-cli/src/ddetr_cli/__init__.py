"""The command `ddetr`: train, evaluate, run and export Deformable DETR from one spec file."""

from ddetr_cli.__about__ import __version__

__all__ = ["__version__"]
