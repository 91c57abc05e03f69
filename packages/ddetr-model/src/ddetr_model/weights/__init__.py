"""Files of weights: what they hold, what they say of themselves, how far they fit a model."""

from ddetr_model.weights.backbone_weights import LEAST_COVERAGE, load_backbone
from ddetr_model.weights.coverage import LoadReport, compare
from ddetr_model.weights.files import (
    FAULTS_OF_LOADING,
    CheckpointError,
    is_whole,
    read_file,
    tensors_of,
)
from ddetr_model.weights.gc_vit_names import from_nvlabs, is_nvlabs
from ddetr_model.weights.metadata import (
    METADATA_KEY,
    CheckpointMetadata,
    metadata_dict,
    metadata_of,
)

__all__ = [
    "FAULTS_OF_LOADING",
    "LEAST_COVERAGE",
    "METADATA_KEY",
    "CheckpointError",
    "CheckpointMetadata",
    "LoadReport",
    "compare",
    "from_nvlabs",
    "is_nvlabs",
    "is_whole",
    "load_backbone",
    "metadata_dict",
    "metadata_of",
    "read_file",
    "tensors_of",
]
