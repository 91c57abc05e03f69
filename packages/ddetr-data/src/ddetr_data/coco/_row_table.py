"""Rows of JSON in a fraction of the memory that dicts take: annotations in columns, others packed.

N rows. Only ordinary annotations can be columns: plain numbers under the keys that COCO has. Their
reader asks for a column at a time, here of a table or of a list of dicts alike.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]

_WHOLE = ("id", "image_id", "category_id", "iscrowd", "ignore")  # keys of whole numbers
_NEEDED = frozenset({"id", "image_id", "category_id", "bbox"})
_KNOWN = frozenset({*_WHOLE, "bbox", "area"})
_OUTLINES = "segmentation"  # which nobody asks for where there is a box; it is not kept
_LARGEST_WHOLE = 2**53  # that a float holds, too


class RowTable(Sequence[Row]):
    """Ordinary annotation rows; one that is asked for is a dict again, without its outlines."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        """Take the columns by key, (N,) each but `bbox`, (N, 4), and `are_whole`, (N, 5).

        The last says of the numbers of bbox, and of area, whether the file writes an integer.
        """
        self.columns = columns

    @classmethod
    def of(cls, rows: Sequence[Any]) -> RowTable | None:
        """Put rows of the same keys into columns; None where one is no ordinary row."""
        if not rows or set(map(type, rows)) != {dict}:
            return None
        keys = rows[0].keys() - {_OUTLINES}
        if not _NEEDED <= keys <= _KNOWN or any(row.keys() - {_OUTLINES} != keys for row in rows):
            return None
        columns: dict[str, NDArray[Any]] = {}
        for key in keys - {"bbox", "area"}:
            values = [row[key] for row in rows]
            if set(map(type, values)) != {int} or not _all_exact(values):
                return None
            columns[key] = np.array(values, np.int64)
        boxes = [row["bbox"] for row in rows]
        if set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
            return None
        areas = [row["area"] for row in rows] if "area" in keys else []
        numbers = [*chain.from_iterable(boxes), *areas]
        integers = [number for number in numbers if type(number) is int]
        if not set(map(type, numbers)) <= {int, float} or not _all_exact(integers):
            return None
        columns["bbox"] = np.array(boxes, np.float64)
        if any(_OUTLINES in row for row in rows) and not (columns["bbox"][:, 2:] > 0).all():
            return None  # what is no box may yet have an outline
        whole = np.array([type(number) is int for number in numbers], np.bool_)
        columns["are_whole"] = np.zeros((len(rows), 5), np.bool_)
        columns["are_whole"][:, :4] = whole[: 4 * len(rows)].reshape(-1, 4)
        if areas:
            columns["area"] = np.array(areas, np.float64)
            columns["are_whole"][:, 4] = whole[4 * len(rows) :]
        return cls(columns)

    @classmethod
    def joined(cls, parts: Iterable[RowTable]) -> RowTable | None:
        """Join tables, taken one at a time; None where there is none or their keys differ."""
        buffers: dict[str, bytearray] = {}
        last: dict[str, NDArray[Any]] = {}
        for part in parts:
            if buffers and part.columns.keys() != buffers.keys():
                return None
            last = part.columns
            for key, column in last.items():  # a long buffer grows where it is
                buffers.setdefault(key, bytearray()).extend(column.tobytes())
        columns = {
            key: np.frombuffer(buffers[key], column.dtype).reshape(-1, *column.shape[1:])
            for key, column in last.items()
        }
        return cls(columns) if columns else None

    def keep(self, mask: NDArray[np.bool_]) -> RowTable:
        """Leave out the rows of which the mask (N,) is false."""
        if mask.all():
            return self
        return RowTable({key: column[mask] for key, column in self.columns.items()})

    def has_repeated_ids(self) -> bool:
        """Whether an id stands twice."""
        ids = np.sort(self.columns["id"])
        return bool((ids[1:] == ids[:-1]).any())

    def __len__(self) -> int:
        return len(self.columns["id"])

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        row: Row = {key: self.columns[key][index].item() for key in _WHOLE if key in self.columns}
        *box, is_whole = self.columns["are_whole"][index].tolist()
        numbers = zip(self.columns["bbox"][index].tolist(), box, strict=True)
        row["bbox"] = [int(number) if whole else number for number, whole in numbers]
        if "area" in self.columns:
            area = self.columns["area"][index].item()
            row["area"] = int(area) if is_whole else area
        return row


class PackedRows:
    """Rows of any kind, to be gone through in their order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._count = 0

    def extend(self, rows: list[Any]) -> None:
        """Append rows, a few thousand of them for the best effect."""
        self._parts.append(marshal.dumps(rows))
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            yield from marshal.loads(part)


def numbers_of(
    rows: Sequence[Row], key: str, find: Callable[[Any], int], dtype: type[np.generic]
) -> NDArray[Any]:
    """Give find(value) of every row's value under a key, (N,); of a missing one it is None."""
    if not isinstance(rows, RowTable):
        return np.array([find(row.get(key)) for row in rows], dtype)
    if key not in rows.columns:
        return np.full(len(rows), find(None), dtype)
    distinct, where = np.unique(rows.columns[key], return_inverse=True)
    return np.array([find(value) for value in distinct.tolist()], dtype)[where]


def kept_rows(rows: Sequence[Row], mask: NDArray[np.bool_]) -> Sequence[Row]:
    """Leave out the rows of which the mask (N,) is false."""
    if isinstance(rows, RowTable):
        return rows.keep(mask)
    return [row for row, kept in zip(rows, mask, strict=True) if kept]


def _all_exact(values: list[int]) -> bool:
    return not values or (max(values) <= _LARGEST_WHOLE and min(values) >= -_LARGEST_WHOLE)
