"""The category table of a COCO file."""

from __future__ import annotations

from ddetr_data.coco._ids import as_id
from ddetr_data.faults import FaultLog
from ddetr_data.locations import AnyFile
from ddetr_data.types import Category

LARGEST_CATEGORY_ID = 2**20  # a category's id is a class index, and costs memory


def read_categories(rows: object, path: AnyFile, faults: FaultLog) -> tuple[Category, ...]:
    """Read a file's `categories`, in order of their ids.

    Raises:
        DataError: there is no table, an id is no whole number from 0 up, or an id has two names.
    """
    if not isinstance(rows, list) or not rows:
        faults.refuse(
            "no_categories", f"{path} must list its classes under `categories`, it has none"
        )
        return ()
    table: dict[int, str] = {}
    for number, row in enumerate(rows):
        where = f"{path}, category row {number}"
        if not isinstance(row, dict):
            faults.add("row_not_object", where)
            continue
        category = _read_category(row, where, faults)
        if category is None:
            continue
        if category.id not in table:
            table[category.id] = category.name
        elif table[category.id] == category.name:
            faults.add("repeated_category", where)
        else:
            faults.refuse(
                "two_category_names",
                f"{where}: category id {category.id} is both "
                f"{table[category.id]!r} and {category.name!r}",
            )
    if not table:
        faults.refuse("no_categories", f"{path} lists no usable class under `categories`")
    by_name = {table[id]: id for id in sorted(table, reverse=True)}  # the smallest id of each name
    shared = [id for id in sorted(table) if by_name[table[id]] != id]
    locations = (f"ids {by_name[table[id]]} and {id}: {table[id]!r}" for id in shared)
    faults.add_rows("shared_category_name", str(path), locations, len(shared))
    return tuple(Category(id, table[id]) for id in sorted(table))


def _read_category(row: dict[str, object], where: str, faults: FaultLog) -> Category | None:
    identity = as_id(row.get("id"))
    if not isinstance(identity, int) or not 0 <= identity <= LARGEST_CATEGORY_ID:
        faults.refuse(
            "unusable_category_id",
            f"{where}: id must be a whole number from 0 to {LARGEST_CATEGORY_ID}, "
            f"got {row.get('id')!r}",
        )
        return None
    if isinstance(row.get("id"), str):
        faults.add("text_id", where)
    name = row.get("name")
    if name is None or not str(name).strip():
        faults.add("unnamed_category", where)
        return Category(identity, f"class_{identity}")
    # A lone half of a surrogate pair can be neither shown nor written; a class list has lines.
    text = str(name).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = " ".join(text.splitlines()).strip()
    if text != name:
        faults.add("odd_category_name", where)
    return Category(identity, text)
