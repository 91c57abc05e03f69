"""Checkpoints of detectors: ours, the original authors', TAO's, Hugging Face's, OpenMMLab's."""

from ddetr_model.checkpoints.checkpoint import (
    load_checkpoint,
    load_pretrained,
    read_metadata,
    save_checkpoint,
)
from ddetr_model.checkpoints.class_heads import class_rows, move_class_rows
from ddetr_model.checkpoints.filling import check_tensors, fill, refuse_non_finite
from ddetr_model.checkpoints.huggingface import export_huggingface
from ddetr_model.checkpoints.huggingface_names import to_published_names
from ddetr_model.checkpoints.original import export_original
from ddetr_model.checkpoints.source import check_parts, import_checkpoint, read_checkpoint

__all__ = [
    "check_parts",
    "check_tensors",
    "class_rows",
    "export_huggingface",
    "export_original",
    "fill",
    "import_checkpoint",
    "load_checkpoint",
    "load_pretrained",
    "move_class_rows",
    "read_checkpoint",
    "read_metadata",
    "refuse_non_finite",
    "save_checkpoint",
    "to_published_names",
]
