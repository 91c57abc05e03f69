"""Training, evaluation and inference for Deformable DETR on PyTorch Lightning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ddetr_train.__about__ import __version__
from ddetr_train.config import EvaluateConfig, InferenceConfig, OptimizerConfig, TrainConfig
from ddetr_train.events import Observer, RunEvent

if TYPE_CHECKING:
    from ddetr_train.detector import TorchDetector
    from ddetr_train.predict import infer
    from ddetr_train.trainer import TrainResult, train

__all__ = [
    "EvaluateConfig",
    "InferenceConfig",
    "Observer",
    "OptimizerConfig",
    "RunEvent",
    "TorchDetector",
    "TrainConfig",
    "TrainResult",
    "__version__",
    "infer",
    "train",
]

# Found on first use, because these load PyTorch.
_LAZY = {
    "TorchDetector": "detector",
    "TrainResult": "trainer",
    "infer": "predict",
    "train": "trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
