"""What a training will not learn of the labels, by the rules that it tells at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ddetr_data.check._labels import CheckedLabels
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog
from ddetr_data.loading import (
    are_many_small,
    boxes_below_stride,
    classes_of_no_use,
    classes_without_objects,
)
from ddetr_data.types import Category

_TRAIN, _VAL = "train", "val"  # splits of a spec


def check_training(
    labels: Mapping[str, Sequence[CheckedLabels]], log: CheckLog, options: CheckOptions
) -> None:
    """Note classes without objects, small boxes, few images and useless classes of a spec's sets.

    A set without a spec is not known to be trained on, and is left out.
    """
    files = [file for file in labels.get(_TRAIN, ()) if file.table is not None]
    if not files:
        return
    categories = _joined_tables(files)
    log.file = files[0].file
    _note_classes(labels, categories, log, options)
    _note_small_boxes(files, log, options)
    log.file = files[0].file
    images = sum(len(file.images) for file in files)
    if options.images_a_step is not None and images < options.images_a_step:
        log.add("fewer_images_than_batch", f"{images} images, a batch of {options.images_a_step}")
    surplus = classes_of_no_use(categories, options.num_classes)
    if surplus:
        log.add("classes_of_no_use", f"num_classes {options.num_classes}", surplus)


def _note_classes(
    labels: Mapping[str, Sequence[CheckedLabels]],
    categories: Sequence[Category],
    log: CheckLog,
    options: CheckOptions,
) -> None:
    trained = _ids(labels[_TRAIN])
    others = np.concatenate([_ids(files) for files in labels.values()])
    elsewhere = classes_without_objects(categories, trained, set(others.tolist()))
    names = iter([each.name for each in elsewhere])
    log.add_rows("no_training_objects", log.file, names, len(elsewhere))
    if validated := labels.get(_VAL):
        among = set(trained.tolist())
        if options.eval_class_ids is not None:
            among &= set(options.eval_class_ids)
        unseen = classes_without_objects(categories, _ids(validated), among)
        names = iter([each.name for each in unseen])
        log.add_rows("no_validation_objects", validated[0].file, names, len(unseen))


def _note_small_boxes(files: Sequence[CheckedLabels], log: CheckLog, options: CheckOptions) -> None:
    """Name the images of small boxes, where these are many of the whole set."""
    found = []
    for file in files:
        if file.table is not None:
            columns = file.table.columns
            sizes_wh = columns.sizes_wh[columns.owners]
            below = boxes_below_stride(columns.boxes_xywh, sizes_wh, options.training_limits)
            found.append((file, columns, below, ~columns.is_crowd))
    if not are_many_small(np.concatenate([below[objects] for *_, below, objects in found])):
        return
    for file, columns, below, objects in found:
        counts = np.bincount(columns.owners[below & objects], minlength=len(columns.ids))
        images = np.flatnonzero(counts).tolist()
        locations = (f"image {columns.ids[each]}: {counts[each]} boxes" for each in images)
        log.add_rows("box_below_stride", file.file, locations, int(counts.sum()))


def _joined_tables(files: Sequence[CheckedLabels]) -> tuple[Category, ...]:
    by_id = {each.id: each for file in reversed(files) for each in file.categories}
    return tuple(by_id[id] for id in sorted(by_id))


def _ids(files: Sequence[CheckedLabels]) -> NDArray[np.int64]:
    """The category ids that have an object."""
    return np.array(sorted({id for file in files for id in file.wanted}), np.int64)
