"""Detection data without surprises: COCO and KITTI reading, conversion, checks and scoring."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from ddetr_data.__about__ import __version__

if TYPE_CHECKING:
    from ddetr_data.check import CheckOptions, CheckReport, check_conversion, check_dataset
    from ddetr_data.coco import DataError, DetectionSet, load_sources
    from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource, InferSource
    from ddetr_data.confusion import confusion_table
    from ddetr_data.draw import draw_detections
    from ddetr_data.evaluation import evaluate_detector, write_results
    from ddetr_data.image_folder import find_images
    from ddetr_data.inference import run_inference
    from ddetr_data.kitti import read_kitti, write_kitti
    from ddetr_data.preprocess import PreprocessConfig, pad_batch, preprocess, read_image
    from ddetr_data.results import detections_from_coco, detections_to_coco
    from ddetr_data.scoring import CocoScorer, Scores
    from ddetr_data.sources import open_sources, resolve_num_classes
    from ddetr_data.synthetic import make_dataset
    from ddetr_data.types import Annotations, Category, Detections, Detector, ImageRecord
    from ddetr_data.verify import verify_images

_HOME = {
    "Annotations": "types",
    "AugmentationConfig": "config",
    "Category": "types",
    "CheckOptions": "check",
    "CheckReport": "check",
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
    "check_conversion": "check",
    "check_dataset": "check",
    "confusion_table": "confusion",
    "detections_from_coco": "results",
    "detections_to_coco": "results",
    "draw_detections": "draw",
    "evaluate_detector": "evaluation",
    "find_images": "image_folder",
    "load_sources": "coco",
    "make_dataset": "synthetic",
    "open_sources": "sources",
    "pad_batch": "preprocess",
    "preprocess": "preprocess",
    "read_image": "preprocess",
    "read_kitti": "kitti",
    "resolve_num_classes": "sources",
    "run_inference": "inference",
    "verify_images": "verify",
    "write_kitti": "kitti",
    "write_results": "evaluation",
}

__all__ = [
    "Annotations",
    "AugmentationConfig",
    "Category",
    "CheckOptions",
    "CheckReport",
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
    "check_conversion",
    "check_dataset",
    "confusion_table",
    "detections_from_coco",
    "detections_to_coco",
    "draw_detections",
    "evaluate_detector",
    "find_images",
    "load_sources",
    "make_dataset",
    "open_sources",
    "pad_batch",
    "preprocess",
    "read_image",
    "read_kitti",
    "resolve_num_classes",
    "run_inference",
    "verify_images",
    "write_kitti",
    "write_results",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


class _Package(ModuleType):
    """Keeps a public name from being hidden by the module of that name once it is loaded.

    Python sets every loaded submodule as an attribute of its package: `ddetr_data.preprocess` is
    the function all the same, and `from ddetr_data.preprocess import ...` still finds the module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
