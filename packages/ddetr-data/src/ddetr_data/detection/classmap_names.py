"""The names of a classmap in place of those that a detector brings."""

from __future__ import annotations

from ddetr_data.faults import DataError
from ddetr_data.formats import number_categories, read_classmap
from ddetr_data.types import Category


def named_by_classmap(
    classmap: str | None, known: tuple[Category, ...], source: str
) -> tuple[Category, ...]:
    """Take the classmap's names in the order of the known ids.

    Args:
        classmap: File of names, one a line; None keeps the known ones.
        known: What the detector says of itself; where that is nothing, ids count from 1.
        source: What an error calls the detector.

    Raises:
        FileNotFoundError, DataError: the classmap is missing or no list of names, or has another
            number of names than there are classes.
    """
    if classmap is None:
        return known
    names = read_classmap(classmap)
    if known and len(known) != len(names):
        raise DataError(f"{classmap} names {len(names)} classes, {source} has {len(known)}")
    ids = known or number_categories(names)
    return tuple(Category(each.id, name) for each, name in zip(ids, names, strict=True))
