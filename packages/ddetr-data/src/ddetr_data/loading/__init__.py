"""From data sources to a set that is ready for a run: verified, and kept in a store."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "FORMAT_VERSION",
    "LabelContract",
    "SeenFiles",
    "StoredTable",
    "TrainingLimits",
    "are_many_small",
    "boxes_below_stride",
    "classes_of_no_use",
    "classes_without_objects",
    "default_cache_dir",
    "explain_losses",
    "fit_to_headers",
    "is_store",
    "open_sources",
    "read_store",
    "resolve_num_classes",
    "store_key",
    "training_notices",
    "verify_images",
    "write_store",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
