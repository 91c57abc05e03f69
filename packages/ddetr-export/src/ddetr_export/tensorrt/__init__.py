"""TensorRT engines of exported files."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "Cuda",
    "EngineBuildError",
    "EngineNetwork",
    "EngineReport",
    "build_engine",
    "calibrate",
    "check_tensorrt",
    "prepare_engine",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
