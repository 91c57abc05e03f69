"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ddetr_export.__about__ import __version__

if TYPE_CHECKING:
    from ddetr_export.config import ExportConfig, TrtEngineConfig
    from ddetr_export.engine import EngineBuildError, EngineReport, build_engine
    from ddetr_export.onnx_export import export_onnx
    from ddetr_export.plugin_file import to_standard
    from ddetr_export.report import ExportError, ExportReport
    from ddetr_export.runtime import Detector
    from ddetr_export.server import create_app, serve

__all__ = [
    "Detector",
    "EngineBuildError",
    "EngineReport",
    "ExportConfig",
    "ExportError",
    "ExportReport",
    "TrtEngineConfig",
    "__version__",
    "build_engine",
    "create_app",
    "export_onnx",
    "serve",
    "to_standard",
]

_SUBMODULE_OF = {
    "Detector": "runtime",
    "EngineBuildError": "engine",
    "EngineReport": "engine",
    "ExportConfig": "config",
    "ExportError": "report",
    "ExportReport": "report",
    "TrtEngineConfig": "config",
    "build_engine": "engine",
    "create_app": "server",
    "export_onnx": "onnx_export",
    "serve": "server",
    "to_standard": "plugin_file",
}


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
