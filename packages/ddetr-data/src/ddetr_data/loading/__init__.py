"""From data sources to a set that is ready for a run: verified, and kept in a store."""

from ddetr_data.loading.image_states import SeenFiles
from ddetr_data.loading.sources import (
    default_cache_dir,
    open_sources,
    resolve_num_classes,
    store_key,
)
from ddetr_data.loading.store import FORMAT_VERSION, StoredTable, is_store, read_store, write_store
from ddetr_data.loading.verification import fit_to_headers, verify_images

__all__ = [
    "FORMAT_VERSION",
    "SeenFiles",
    "StoredTable",
    "default_cache_dir",
    "fit_to_headers",
    "is_store",
    "open_sources",
    "read_store",
    "resolve_num_classes",
    "store_key",
    "verify_images",
    "write_store",
]
