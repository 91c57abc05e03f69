"""From data sources to a set that is ready for a run: read, verified, and kept in a store."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ddetr_data.coco import (
    DetectionSet,
    as_table,
    check_ids_below,
    find_json_files,
    load_sources,
    tell_faults,
)
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.faults import DataError
from ddetr_data.files import file_digests
from ddetr_data.loading.cache_folder import default_cache_dir
from ddetr_data.loading.contract import LabelContract
from ddetr_data.loading.image_states import SeenFiles, find_changes
from ddetr_data.loading.store import (
    FORMAT_VERSION,
    StoredSet,
    building,
    check_store,
    discard_store,
    note_looked_at,
    read_store,
    write_store,
)
from ddetr_data.loading.verification import verify_images
from ddetr_data.locations import absolute

logger = logging.getLogger(__name__)


def open_sources(
    sources: Sequence[DataSource],
    *,
    num_classes: int | None,
    dataset_type: Literal["serialized", "default"] = "serialized",
    corrupt_images: Literal["error", "skip"] = "error",
    ignore_regions: bool = False,
    contract: LabelContract | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DetectionSet:
    """Load sources and verify their images, as a run needs them.

    serialized keeps the result in a store under cache_dir, named by the contents of the JSON
    files: the next run maps it in seconds, and all workers use the same pages. A damaged store is
    built anew, and so is one of which an image file was removed, added back or changed: files of
    another size, or of a later time and not as they were. default reads and verifies each time and
    gives a plain list. What was mended or left out is logged each time.

    Args:
        sources: at least one.
        num_classes: every category id must be below it; None does not check.
        dataset_type: as in the spec.
        corrupt_images: as in the spec.
        ignore_regions: as in the spec.
        contract: the classes that ids must mean, and how many objects may be dropped; absent: the
            files must agree with each other alone.
        cache_dir: absent: $DDETR_CACHE, or else ddetr-data in the user's cache folder.
        on_progress: called with images verified and images in all, when there are any to verify.

    Raises:
        DataError, FileNotFoundError: as load_sources, verify_images and LabelContract.
        OSError: the store cannot be written; the text says what to do.
    """

    match = "id" if contract is None else contract.match_classes

    def build() -> tuple[DetectionSet, SeenFiles]:
        loaded = load_sources(
            sources,
            num_classes=None,
            corrupt_images=corrupt_images,
            ignore_regions=ignore_regions,
            match_classes=match,
        )
        if contract is not None:
            loaded = contract.fitted(loaded)
        check_ids_below(loaded.categories, num_classes, sources[0].json_file[0])
        before = as_table(loaded.images)
        seen, all_named = SeenFiles.of(before), "unreadable_image" not in loaded.faults
        checked = verify_images(loaded, corrupt_images=corrupt_images, on_progress=on_progress)
        if contract is not None:
            contract.check_losses(checked)
        return checked, seen.kept(before, as_table(checked.images), is_complete=all_named)

    if dataset_type == "default":
        built, _ = build()
        return replace(built, images=list(built.images))
    key = store_key(sources, corrupt_images, contract, ignore_regions=ignore_regions)
    folder = Path(cache_dir or default_cache_dir()) / key
    stored, _ = _found(folder)
    if stored is None:
        with building(folder):
            stored, reason = _found(folder)  # another process may have built it by now
            if stored is None:
                if reason:
                    logger.warning("labels are read anew: %s", reason)
                discard_store(folder)
                write_store(*build(), folder)
                return read_store(folder)
    tell_faults(stored)
    if contract is not None:
        contract.refuse_conflicts(stored.categories)
        contract.check_losses(stored)
    check_ids_below(stored.categories, num_classes, sources[0].json_file[0])
    return stored


def resolve_num_classes(dataset: DatasetConfig) -> int:
    """Give dataset.num_classes as a number, read from the first labelled sources when auto.

    They are opened as a run opens them, so that the run finds their store.

    Raises:
        DataError: it is auto and there are no labelled sources.
        DataError, FileNotFoundError, OSError: as open_sources.
    """
    if dataset.num_classes != "auto":
        return dataset.num_classes
    sources = dataset.train_data_sources or dataset.val_data_sources or dataset.test_data_sources
    if not sources:
        raise DataError("num_classes auto needs labelled data sources, give a number instead")
    contract = LabelContract.of_scoring(dataset, ())
    if dataset.train_data_sources:
        contract = LabelContract.of_training(dataset)
    if dataset.dataset_type == "default":  # nothing is kept, so images are left for the run
        return load_sources(
            sources,
            num_classes=None,
            corrupt_images="skip",
            ignore_regions=dataset.ignore_regions,
            match_classes=dataset.match_classes,
        ).num_classes
    return open_sources(
        sources,
        num_classes=None,
        corrupt_images=dataset.corrupt_images if dataset.train_data_sources else "error",
        ignore_regions=dataset.ignore_regions,
        contract=contract,
    ).num_classes


def store_key(
    sources: Sequence[DataSource],
    corrupt_images: str,
    contract: LabelContract | None = None,
    *,
    ignore_regions: bool = False,
) -> str:
    """Name a store by all that its contents depend on: the JSON files' bytes, not their paths."""
    digests = [file_digests(find_json_files(source.json_file)) for source in sources]
    image_dirs = [absolute(source.image_dir) for source in sources]
    facts: list[object] = [FORMAT_VERSION, image_dirs, digests, corrupt_images, ignore_regions]
    if contract is not None and contract.match_classes == "name":  # other ids are written
        facts.append([(each.id, each.name) for each in contract.classes])
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _found(folder: Path) -> tuple[StoredSet | None, str]:
    """Open a store that is undamaged and whose image files are unchanged; else give the reason."""
    if not folder.exists():
        return None, ""
    try:
        stored, seen = check_store(folder)
    except DataError as error:
        return None, str(error)
    now = time.time()
    changed, looked_into = find_changes(stored.images, seen, stored.largest)
    if changed:
        return None, f"{changed} image files changed since {folder} was written"
    if looked_into:
        note_looked_at(folder, now)
    return stored, ""
