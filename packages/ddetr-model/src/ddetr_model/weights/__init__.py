"""Files of weights: what they hold, what they say of themselves, how far they fit a model."""

from ddetr_model.weights.backbone_weights import LEAST_COVERAGE, load_backbone
from ddetr_model.weights.coverage import CLASS_HEADS, COUNTER, LoadReport, compare, first_names
from ddetr_model.weights.files import CheckpointError, read_file, tensors_of
from ddetr_model.weights.gc_vit_names import from_nvlabs, is_nvlabs
from ddetr_model.weights.metadata import (
    METADATA_KEY,
    CheckpointMetadata,
    metadata_dict,
    metadata_of,
)
from ddetr_model.weights.sources import Source, name_of, path_of

__all__ = [
    "CLASS_HEADS",
    "COUNTER",
    "LEAST_COVERAGE",
    "METADATA_KEY",
    "CheckpointError",
    "CheckpointMetadata",
    "LoadReport",
    "Source",
    "compare",
    "first_names",
    "from_nvlabs",
    "is_nvlabs",
    "load_backbone",
    "metadata_dict",
    "metadata_of",
    "name_of",
    "path_of",
    "read_file",
    "tensors_of",
]
