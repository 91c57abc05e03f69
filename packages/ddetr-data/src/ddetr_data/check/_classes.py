"""Whether the class tables of all files agree, as loading wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ddetr_data.categories import MATCH_ADVICE, find_conflict, ids_by_name
from ddetr_data.check._labels import CheckedLabels
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog
from ddetr_data.coco import ImageTable, check_ids_below, map_classes
from ddetr_data.faults import DataError
from ddetr_data.types import Category

Labels = Mapping[str, Sequence[CheckedLabels]]  # by the name of their split


def check_categories(labels: Labels, log: CheckLog, options: CheckOptions) -> Labels:
    """Compare the tables of all files, and look at the classes of all together.

    Returns:
        The labels; where classes are matched by name, with the ids of the first table.
    """
    tables = [file for files in labels.values() for file in files if file.categories]
    if not tables:
        return labels
    if options.match_classes == "name":
        first_split = next(split for split in labels if any(f in tables for f in labels[split]))
        labels = {
            split: [_mapped(file, tables[0], log, must_know=split == first_split) for file in files]
            for split, files in labels.items()
        }
    else:
        _note_conflicts(tables, log)
        _note_untrained(labels, log)
    _check_numbers([file for files in labels.values() for file in files], log, options)
    return labels


def _mapped(
    file: CheckedLabels, first: CheckedLabels, log: CheckLog, *, must_know: bool
) -> CheckedLabels:
    """Bring a file to the ids of the first one, of whose set it may be."""
    if not file.categories or file.table is None or file.categories == first.categories:
        return file
    log.file = file.file
    ids = ids_by_name(first.categories, file.categories)
    unknown = [each.name for each in file.categories if each.id not in ids]
    if unknown and must_know:
        names = ", ".join(map(repr, unknown))
        log.refuse("differing_categories", f"{first.file} does not name {names}")
        return file
    columns, categories, losses = map_classes(
        file.table.columns, file.categories, first.categories, file.losses, log, file.file
    )
    return replace(
        file,
        categories=categories,
        table=ImageTable(columns, file.table.image_dirs),
        num_objects=len(columns.labels),
        losses=losses,
    )


def _note_conflicts(tables: Sequence[CheckedLabels], log: CheckLog) -> None:
    distinct: list[CheckedLabels] = []
    for other in tables:
        log.file = other.file
        for first in distinct:
            difference = find_conflict(
                first.categories,
                other.categories,
                first_name=first.file,
                second_name=other.file,
            )
            if difference:
                log.refuse("differing_categories", f"{difference}; {MATCH_ADVICE}")
                break
        if all(other.categories != first.categories for first in distinct):
            distinct.append(other)


def _note_untrained(labels: Labels, log: CheckLog) -> None:
    """Classes that the first split lacks, which a model that learns from it will not find."""
    first, *others = labels.values()
    known = {each.id for file in first for each in file.categories}
    for file in (file for files in others for file in files if known):
        log.file = file.file
        extra = [each.name for each in file.categories if each.id not in known]
        log.add_rows("untrained_category", file.file, iter(extra), len(extra))


def _check_numbers(files: Sequence[CheckedLabels], log: CheckLog, options: CheckOptions) -> None:
    """Ids that no model has, that are left out, and classes without any object."""
    first = next(file for file in files if file.categories)
    log.file = first.file
    by_id: dict[int, Category] = {}
    for file in files:
        by_id = {**{each.id: each for each in file.categories}, **by_id}
    categories = [by_id[id] for id in sorted(by_id)]
    try:
        check_ids_below(categories, options.num_classes, first.file)
    except DataError as error:
        log.refuse("category_beyond_model", str(error))
    if 0 in by_id:
        log.add("category_id_zero", "id 0")
    gaps = sorted(set(range(1, max(by_id))) - by_id.keys())
    log.add_rows("category_id_gaps", first.file, (f"id {number}" for number in gaps), len(gaps))
    objects = sum((file.objects for file in files), Counter[int]())
    unused = [category.name for category in categories if not objects[category.id]]
    log.add_rows("unused_category", first.file, iter(unused), len(unused))
