"""Deformable DETR in PyTorch with the published parameter names, losses and post-processing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ddetr_model.__about__ import __version__
from ddetr_model.config import ModelConfig

if TYPE_CHECKING:
    from ddetr_model.checkpoint import (
        CheckpointError,
        CheckpointMetadata,
        LoadReport,
        load_checkpoint,
        load_pretrained,
        metadata_dict,
        read_metadata,
        save_checkpoint,
    )
    from ddetr_model.detector import DeformableDETR
    from ddetr_model.losses import SetCriterion
    from ddetr_model.matcher import HungarianMatcher

__all__ = [
    "CheckpointError",
    "CheckpointMetadata",
    "DeformableDETR",
    "HungarianMatcher",
    "LoadReport",
    "ModelConfig",
    "SetCriterion",
    "__version__",
    "load_checkpoint",
    "load_pretrained",
    "metadata_dict",
    "read_metadata",
    "save_checkpoint",
]

# Everything that needs torch is imported when it is first asked for.
_SUBMODULES = {
    "CheckpointError": "checkpoint",
    "CheckpointMetadata": "checkpoint",
    "DeformableDETR": "detector",
    "HungarianMatcher": "matcher",
    "LoadReport": "checkpoint",
    "SetCriterion": "losses",
    "load_checkpoint": "checkpoint",
    "load_pretrained": "checkpoint",
    "metadata_dict": "checkpoint",
    "read_metadata": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
