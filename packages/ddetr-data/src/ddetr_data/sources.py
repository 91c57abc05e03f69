"""From data sources to a set that is ready for a run: read, verified, and kept in a store."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ddetr_data.coco import DetectionSet, check_ids_below, load_sources
from ddetr_data.config import DataSource
from ddetr_data.json_files import find_json_files
from ddetr_data.locations import AnyFile, RemoteFile, absolute
from ddetr_data.store import FORMAT_VERSION, StoredSet, building, is_store, read_store, write_store
from ddetr_data.verify import missing_images, verify_images

CACHE_VARIABLE = "DDETR_CACHE"
_HASH_BLOCK_BYTES = 2**20
_HASHING_THREADS = 4

logger = logging.getLogger(__name__)


def open_sources(
    sources: Sequence[DataSource],
    *,
    num_classes: int | None,
    dataset_type: Literal["serialized", "default"] = "serialized",
    corrupt_images: Literal["error", "skip"] = "error",
    cache_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DetectionSet:
    """Load sources and verify their images, as a run needs them.

    serialized keeps the result in a store under cache_dir, named by the contents of the JSON
    files: the next run maps it in seconds, and workers share its pages. Images are verified when
    the store is built; later only that they are still there. default reads and verifies each
    time and gives a plain list.

    Args:
        sources: at least one.
        num_classes: every category id must be below it; None does not check.
        dataset_type: as in the spec.
        corrupt_images: as in the spec.
        cache_dir: absent: $DDETR_CACHE, or else ddetr-data in the user's cache folder.
        on_progress: called with images verified and images in all, when there are any to verify.

    Raises:
        DataError, FileNotFoundError: as load_sources and verify_images.
    """

    def build() -> DetectionSet:
        loaded = load_sources(sources, num_classes=num_classes, corrupt_images=corrupt_images)
        return verify_images(loaded, corrupt_images=corrupt_images, on_progress=on_progress)

    if dataset_type == "default":
        built = build()
        return replace(built, images=list(built.images))
    folder = Path(cache_dir or default_cache_dir()) / store_key(sources, corrupt_images)
    with building(folder):
        stored = _still_right(folder)
        if stored is None:
            write_store(build(), folder)
            stored = read_store(folder)
    check_ids_below(stored.categories, num_classes, sources[0].json_file[0])
    return stored


def default_cache_dir() -> Path:
    """$DDETR_CACHE, or else ddetr-data in the user's cache folder."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "ddetr-data"


def store_key(sources: Sequence[DataSource], corrupt_images: str) -> str:
    """Name a store by all that its contents depend on: the JSON files' bytes, not their places."""
    files = [find_json_files(source.json_file) for source in sources]
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        digests = [list(pool.map(_digest, paths)) for paths in files]
    image_dirs = [absolute(source.image_dir) for source in sources]
    facts = [FORMAT_VERSION, image_dirs, digests, corrupt_images]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _digest(path: AnyFile) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(path, RemoteFile):
        digest.update(path.read_bytes())
        return digest.hexdigest()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _still_right(folder: Path) -> StoredSet | None:
    """Open a store whose images are all there; None when it must be built."""
    if not is_store(folder):
        return None
    stored = read_store(folder)
    missing = missing_images(stored.images)
    if missing:
        logger.warning("store=%s is built anew, missing=%d images", folder, len(missing))
        shutil.rmtree(folder)
        return None
    return stored
