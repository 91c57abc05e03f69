"""Training, evaluation and inference for Deformable DETR on PyTorch Lightning."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "VALIDATION_FOLDER",
    "GroupNames",
    "OptimizerConfig",
    "TorchDetector",
    "TrainConfig",
    "TrainResult",
    "__version__",
    "open_detector",
    "train",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
