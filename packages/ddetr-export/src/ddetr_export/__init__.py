"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

from typing import Any

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "EngineBuildError",
    "EngineReport",
    "ExportConfig",
    "ExportError",
    "ExportReport",
    "OnnxDetector",
    "PreparedExport",
    "TrtEngineConfig",
    "__version__",
    "build_engine",
    "create_app",
    "export_onnx",
    "open_detector",
    "prepare_export",
    "serve",
    "to_standard",
]

_find, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Find a name; what is missing for it is asked for by the extra [torch] that brings it."""
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        from ddetr_export.extra_torch import missing_extra

        raise missing_extra(name, error) from error
