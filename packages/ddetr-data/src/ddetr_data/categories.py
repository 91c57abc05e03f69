"""Tables of classes: whether two of them agree, and what a class without a name is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ddetr_data.types import Category

_SHOWN = 8  # differences that a sentence lists


def compare_categories(
    first: Sequence[Category],
    second: Sequence[Category],
    *,
    first_name: str,
    second_name: str,
    second_may_lack: bool = False,
) -> str | None:
    """Say where two tables give an id another name, or only one of them has it.

    Args:
        first: One table.
        second: The other.
        first_name: What the sentence calls the first one's owner: a file, "the model".
        second_name: Likewise.
        second_may_lack: Whether it is no difference when only the first has an id.

    Returns:
        "class names differ: id 1 is 'car' in a.json and 'bus' in b.json; id 3: absent and 'bag'",
        or None where they agree. A table without any class agrees with all: its owner does not
        know its classes.
    """
    ours, theirs = ({each.id: each.name for each in table} for table in (first, second))
    if not (ours and theirs):
        return None
    ids = sorted(theirs if second_may_lack else ours.keys() | theirs.keys())
    different = [id for id in ids if ours.get(id) != theirs.get(id)]
    if not different:
        return None
    pairs = [(id, _told(ours, id), _told(theirs, id)) for id in different[:_SHOWN]]
    parts = [f"id {id}: {one} and {other}" for id, one, other in pairs]
    id, one, other = pairs[0]
    parts[0] = f"id {id} is {one} in {first_name} and {other} in {second_name}"
    if len(different) > _SHOWN:
        parts.append(f"and {len(different) - _SHOWN} more")
    return f"class names differ: {'; '.join(parts)}"


def as_categories(rows: Iterable[Mapping[str, Any]]) -> tuple[Category, ...]:
    """Give the classes of a file's metadata, rows of "id" and "name"."""
    return tuple(Category(int(row["id"]), str(row["name"])) for row in rows)


class ClassNames(dict[int, str]):
    """The names of classes by id; an id that the table lacks is shown as class_<id>, not lost."""

    def __init__(self, categories: Iterable[Category]) -> None:
        super().__init__((category.id, category.name) for category in categories)

    def __missing__(self, label: int) -> str:
        return f"class_{label}"


def _told(names: dict[int, str], id: int) -> str:
    return repr(names[id]) if id in names else "absent"
