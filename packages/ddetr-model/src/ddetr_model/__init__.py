"""Deformable DETR in PyTorch with the published parameter names, losses and post-processing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ddetr_model.__about__ import __version__
from ddetr_model.config import ModelConfig

if TYPE_CHECKING:
    from ddetr_model.checkpoint import (
        load_checkpoint,
        load_pretrained,
        read_metadata,
        save_checkpoint,
    )
    from ddetr_model.coverage import LoadReport
    from ddetr_model.detector import DeformableDETR
    from ddetr_model.importers import export_huggingface, export_original, import_checkpoint
    from ddetr_model.losses import SetCriterion
    from ddetr_model.matcher import HungarianMatcher
    from ddetr_model.metadata import CheckpointMetadata, metadata_dict
    from ddetr_model.postprocessing import postprocess
    from ddetr_model.summary import ModelSummary, summarize
    from ddetr_model.weights import CheckpointError

__all__ = [
    "CheckpointError",
    "CheckpointMetadata",
    "DeformableDETR",
    "HungarianMatcher",
    "LoadReport",
    "ModelConfig",
    "ModelSummary",
    "SetCriterion",
    "__version__",
    "export_huggingface",
    "export_original",
    "import_checkpoint",
    "load_checkpoint",
    "load_pretrained",
    "metadata_dict",
    "postprocess",
    "read_metadata",
    "save_checkpoint",
    "summarize",
]

# Everything that needs torch is imported when it is first asked for.
_SUBMODULES = {
    "CheckpointError": "weights",
    "CheckpointMetadata": "metadata",
    "DeformableDETR": "detector",
    "HungarianMatcher": "matcher",
    "LoadReport": "coverage",
    "ModelSummary": "summary",
    "SetCriterion": "losses",
    "export_huggingface": "importers",
    "export_original": "importers",
    "import_checkpoint": "importers",
    "load_checkpoint": "checkpoint",
    "load_pretrained": "checkpoint",
    "metadata_dict": "metadata",
    "postprocess": "postprocessing",
    "read_metadata": "checkpoint",
    "save_checkpoint": "checkpoint",
    "summarize": "summary",
}


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
