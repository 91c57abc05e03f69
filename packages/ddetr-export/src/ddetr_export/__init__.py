"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ddetr_export.__about__ import __version__

if TYPE_CHECKING:
    from ddetr_export.config import ExportConfig, TrtEngineConfig
    from ddetr_export.onnx_export import export_onnx
    from ddetr_export.report import ExportError, ExportReport
    from ddetr_export.runtime import Detector

__all__ = [
    "Detector",
    "ExportConfig",
    "ExportError",
    "ExportReport",
    "TrtEngineConfig",
    "__version__",
    "export_onnx",
]

_SUBMODULE_OF = {
    "Detector": "runtime",
    "ExportError": "report",
    "ExportReport": "report",
    "export_onnx": "onnx_export",
    "ExportConfig": "config",
    "TrtEngineConfig": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
