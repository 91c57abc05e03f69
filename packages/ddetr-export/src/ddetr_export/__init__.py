"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ddetr_export.__about__ import __version__

if TYPE_CHECKING:
    from ddetr_export.config import ExportConfig, TrtEngineConfig

__all__ = ["ExportConfig", "TrtEngineConfig", "__version__"]

_SUBMODULE_OF = {
    "ExportConfig": "config",
    "TrtEngineConfig": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
