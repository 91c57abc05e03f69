"""Detection data without surprises: COCO and KITTI reading, conversion, checks and scoring."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ddetr_data.__about__ import __version__

if TYPE_CHECKING:
    from ddetr_data.coco import DataError, DetectionSet, load_sources
    from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource, InferSource
    from ddetr_data.evaluation import evaluate_detector, write_results
    from ddetr_data.preprocess import PreprocessConfig, pad_batch, preprocess, read_image
    from ddetr_data.scoring import CocoScorer, Scores
    from ddetr_data.types import Annotations, Category, Detections, Detector, ImageRecord

_HOME = {
    "Annotations": "types",
    "AugmentationConfig": "config",
    "Category": "types",
    "CocoScorer": "scoring",
    "DataError": "coco",
    "DataSource": "config",
    "DatasetConfig": "config",
    "DetectionSet": "coco",
    "Detections": "types",
    "Detector": "types",
    "ImageRecord": "types",
    "InferSource": "config",
    "PreprocessConfig": "preprocess",
    "Scores": "scoring",
    "evaluate_detector": "evaluation",
    "load_sources": "coco",
    "pad_batch": "preprocess",
    "preprocess": "preprocess",
    "read_image": "preprocess",
    "write_results": "evaluation",
}

__all__ = [
    "Annotations",
    "AugmentationConfig",
    "Category",
    "CocoScorer",
    "DataError",
    "DataSource",
    "DatasetConfig",
    "DetectionSet",
    "Detections",
    "Detector",
    "ImageRecord",
    "InferSource",
    "PreprocessConfig",
    "Scores",
    "__version__",
    "evaluate_detector",
    "load_sources",
    "pad_batch",
    "preprocess",
    "read_image",
    "write_results",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
