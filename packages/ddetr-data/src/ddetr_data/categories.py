"""Tables of classes: whether two of them agree, and what a class without a name is called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ddetr_data.faults import DataError
from ddetr_data.types import Category, nameless

MATCH_ADVICE = (
    "mend the ids, or set dataset.match_classes=name (of convert: match_classes=name), which maps "
    "them by the classes' names"
)
_SHOWN = 8  # differences that a sentence lists
_NUMBER = re.compile(r"(class|category|label|id)?[\s_-]*([0-9]{1,18})", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_-]+")


def compare_categories(
    first: Sequence[Category],
    second: Sequence[Category],
    *,
    first_name: str,
    second_name: str,
    second_may_lack: bool = False,
) -> str | None:
    """Say where two tables give an id another name, a name another id, or only one has a class.

    Case, blanks, underscores and hyphens make no other name ("Traffic Light" is traffic_light),
    unless one table tells two classes apart by them alone. A class that has a number for a name,
    class_3 or 3 with the id 3, has none, and is not compared.

    Args:
        first: One table.
        second: The other.
        first_name: What the sentence calls the first one's owner: a file, "the model".
        second_name: Likewise.
        second_may_lack: Whether it is no difference when only the first has a class.

    Returns:
        "class names differ: id 1 is 'car' in a.json and 'bus' in b.json; id 3: absent and 'bag'",
        or None where they agree. A table without any class agrees with all: its owner does not
        know its classes.
    """
    ids = _clashing_ids(first, second)
    if first and second:
        ours, theirs = ({each.id for each in table} for table in (first, second))
        ids |= theirs - ours if second_may_lack else ours ^ theirs
    return _sentence(first, second, ids, first_name, second_name)


def find_conflict(
    first: Sequence[Category], second: Sequence[Category], *, first_name: str, second_name: str
) -> str | None:
    """Say, as compare_categories, which ids have two names and which names two ids.

    Each of the tables may lack classes of the other.
    """
    return _sentence(first, second, _clashing_ids(first, second), first_name, second_name)


def refuse_other_order(
    first: Sequence[Category], second: Sequence[Category], *, first_name: str, second_name: str
) -> None:
    """Refuse a table that has a class of the first one's under another id; other names are fine.

    Raises:
        DataError: the text names the differences.
    """
    if _moved_ids(first, second, _key_for(first, second)):
        ids = _clashing_ids(first, second)
        sentence = _sentence(first, second, ids, first_name, second_name)
        raise DataError(f"{sentence}; {MATCH_ADVICE}")


def ids_by_name(table: Sequence[Category], others: Sequence[Category]) -> dict[int, int]:
    """Give the id in `table` of each class of `others`, by names as in compare_categories.

    A class without a name keeps its id. One that `table` does not name is left out.
    """
    if not table:
        return {each.id: each.id for each in others}
    key = _key_for(table, others)
    known: dict[str, list[int]] = {}
    for each in sorted(table, key=lambda one: one.id):
        known.setdefault(key(each.name), []).append(each.id)
    found = {}
    for each in others:
        ids = known.get(key(each.name), [])
        if is_nameless(each.id, each.name) or each.id in ids:
            found[each.id] = each.id
        elif ids:
            found[each.id] = ids[0]
    return found


def is_nameless(id: int, name: str) -> bool:
    """Whether a name says no more than a number, as of a class whose table has no names."""
    found = _NUMBER.fullmatch(name.strip())
    return found is not None and (found[1] is not None or int(found[2]) == id)


def as_categories(rows: Iterable[Mapping[str, Any]]) -> tuple[Category, ...]:
    """Give the classes of a file's metadata, rows of "id" and "name"."""
    return tuple(Category(int(row["id"]), str(row["name"])) for row in rows)


class ClassNames(dict[int, str]):
    """The names of classes by id; an id that the table lacks is shown as class_<id>, not lost."""

    def __init__(self, categories: Iterable[Category]) -> None:
        super().__init__((category.id, category.name) for category in categories)

    def __missing__(self, label: int) -> str:
        return nameless(label)


def _told(names: dict[int, str], id: int) -> str:
    return repr(names[id]) if id in names else "absent"


def _clashing_ids(first: Sequence[Category], second: Sequence[Category]) -> set[int]:
    """Ids with two names, and those of names that have no id in common."""
    key = _key_for(first, second)
    ours, theirs = ({each.id: each.name for each in table} for table in (first, second))
    renamed = {
        id
        for id in ours.keys() & theirs.keys()
        if key(ours[id]) != key(theirs[id])
        and not (is_nameless(id, ours[id]) or is_nameless(id, theirs[id]))
    }
    return renamed | _moved_ids(first, second, key)


def _sentence(
    first: Sequence[Category],
    second: Sequence[Category],
    ids: set[int],
    first_name: str,
    second_name: str,
) -> str | None:
    if not ids:
        return None
    ours, theirs = ({each.id: each.name for each in table} for table in (first, second))
    pairs = [(id, _told(ours, id), _told(theirs, id)) for id in sorted(ids)[:_SHOWN]]
    parts = [f"id {id}: {one} and {other}" for id, one, other in pairs]
    id, one, other = pairs[0]
    parts[0] = f"id {id} is {one} in {first_name} and {other} in {second_name}"
    if len(ids) > _SHOWN:
        parts.append(f"and {len(ids) - _SHOWN} more")
    return f"class names differ: {'; '.join(parts)}"


def _key_for(first: Sequence[Category], second: Sequence[Category]) -> Callable[[str], str]:
    """What names are compared by; those that a table tells apart by their spelling, exactly."""
    ambiguous: set[str] = set()
    for table in (first, second):
        spellings: dict[str, set[str]] = {}
        for each in table:
            spellings.setdefault(_folded(each.name), set()).add(each.name)
        ambiguous |= {folded for folded, names in spellings.items() if len(names) > 1}

    def key(name: str) -> str:
        folded = _folded(name)
        return name if folded in ambiguous else folded

    return key


def _folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    return _SEPARATORS.sub(" ", text).strip()


def _moved_ids(
    first: Sequence[Category], second: Sequence[Category], key: Callable[[str], str]
) -> set[int]:
    """The ids, in both tables, of names that have no id in common."""
    ids: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
    for known, table in zip(ids, (first, second), strict=True):
        for each in table:
            if not is_nameless(each.id, each.name):
                known.setdefault(key(each.name), set()).add(each.id)
    ours, theirs = ids
    moved = [name for name in ours.keys() & theirs.keys() if not ours[name] & theirs[name]]
    return {id for name in moved for id in ours[name] | theirs[name]}
