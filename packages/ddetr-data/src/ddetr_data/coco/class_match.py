"""Bringing labels to the class ids of another table, by the names of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ddetr_data.categories import MATCH_ADVICE, compare_categories, find_conflict, ids_by_name
from ddetr_data.coco.file import CocoFile
from ddetr_data.coco.image_table import ImageColumns
from ddetr_data.config import ClassMatch
from ddetr_data.faults import UNKNOWN_CLASS, DataError, FaultLog, Losses
from ddetr_data.types import Category

UNMATCHED = "unmatched_class"


def map_classes(
    columns: ImageColumns,
    categories: Sequence[Category],
    table: Sequence[Category],
    losses: Losses,
    faults: FaultLog,
    where: str,
) -> tuple[ImageColumns, tuple[Category, ...], Losses]:
    """Give objects the ids that `table` has for their classes' names.

    Args:
        columns: images and objects, with the ids of `categories`.
        categories: the classes of the labels.
        table: the classes to map onto; without any nothing is changed.
        losses: objects that were dropped, with the ids of `categories`.
        faults: gets the classes that are numbered anew, and the objects that are left out because
            `table` does not name their class.
        where: the file or set, for the log.

    Returns:
        The objects that are left, their classes as `table` has them, and all that is dropped.
    """
    ids = ids_by_name(table, categories)
    moved = [each for each in categories if ids.get(each.id, each.id) != each.id]
    told = (f"class {each.name!r} with id {each.id} is {ids[each.id]}" for each in moved)
    faults.add_rows("renumbered_class", where, told, len(moved))
    dropped = Losses()
    for (why, id), count in losses.items():
        is_known = id in ids or id == UNKNOWN_CLASS
        dropped[why if is_known else UNMATCHED, ids.get(id, UNKNOWN_CLASS)] += count
    for each in categories:
        count = int((columns.labels == each.id).sum()) if each.id not in ids else 0
        if count:
            faults.add(UNMATCHED, f"{where}, class {each.name!r}", count)
            dropped[UNMATCHED, UNKNOWN_CLASS] += count
    known = {each.id: each for each in (*categories, *table)}
    kept = tuple(known[id] for id in sorted(set(ids.values())))
    return columns.renumbered(ids), kept, dropped


def agreeing_files(
    files: Sequence[CocoFile], match_classes: ClassMatch, faults: FaultLog
) -> tuple[list[CocoFile], tuple[Category, ...]]:
    """Bring the files of one set to one table of classes, of which each may lack some.

    Raises:
        DataError: a file gives an id another name or a name another id, and is to be matched by
            id; or it has a class that the first does not name, and is to be matched by name.
    """
    distinct = list({file.categories: file for file in reversed(files)}.values())[::-1]
    if match_classes == "name":
        table = distinct[0].categories
        return [_like_first(file, files[0], faults) for file in files], table
    for number, other in enumerate(distinct):
        for first in distinct[:number]:
            _refuse_conflict(first, other)
    by_id = {each.id: each for file in reversed(distinct) for each in file.categories}
    return list(files), tuple(by_id[id] for id in sorted(by_id))


def _refuse_conflict(first: CocoFile, other: CocoFile) -> None:
    tables, names = (first.categories, other.categories), (str(first.path), str(other.path))
    if find_conflict(*tables, first_name=names[0], second_name=names[1]):
        difference = compare_categories(*tables, first_name=names[0], second_name=names[1])
        raise DataError(f"{difference}; the files of one set must agree: {MATCH_ADVICE}")


def _like_first(file: CocoFile, first: CocoFile, faults: FaultLog) -> CocoFile:
    if file.categories == first.categories:
        return file
    ids = ids_by_name(first.categories, file.categories)
    unknown = [each.name for each in file.categories if each.id not in ids]
    if unknown:
        raise DataError(
            f"{file.path} has the classes {', '.join(map(repr, unknown))}, which {first.path}, the "
            "first file of the set, does not name: give them an id there, or leave them out here"
        )
    where = str(file.path)
    columns, categories, losses = map_classes(
        file.columns, file.categories, first.categories, file.losses, faults, where
    )
    return replace(file, columns=columns, categories=categories, losses=losses)
