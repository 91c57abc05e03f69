"""Checkpoints of other projects: the original authors', Hugging Face's, TAO's; by name."""

from ddetr_model.importers.huggingface import export_huggingface
from ddetr_model.importers.original import export_original
from ddetr_model.importers.source import import_checkpoint

__all__ = ["export_huggingface", "export_original", "import_checkpoint"]
