"""Checkpoints of other projects, read by name and never by position.

Those of the original authors, Hugging Face transformers, TAO, detrex and mmdetection.
"""

from ddetr_model.importers.huggingface import export_huggingface
from ddetr_model.importers.original import export_original
from ddetr_model.importers.source import import_checkpoint

__all__ = ["export_huggingface", "export_original", "import_checkpoint"]
