"""ONNX export of Deformable DETR that is proven after every export, and a runtime without torch."""

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

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
