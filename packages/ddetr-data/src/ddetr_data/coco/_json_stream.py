"""Reading large COCO JSON a piece at a time, into columns.

Only files without any fault of form are read so; the others are for the reader of whole files,
which has a sentence for each.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from ddetr_data.coco._row_table import PackedRows, RowTable

_PIECE_BYTES = 2**20
_ROWS = 4096  # that are dicts at a time
_BLANKS = re.compile(r"[ \t\n\r]*")

Join = Callable[[list[tuple[str, Any]]], Any]


class _NotPlainError(Exception):
    """The file is for the other reader."""


def read_plain_object(file: BinaryIO, join: Join) -> dict[str, Any] | None:
    """Read an object of UTF-8 JSON, its annotations as a RowTable, its images as PackedRows.

    Args:
        file: open at its beginning.
        join: makes a dict of the keys and values of an object within.

    Returns:
        None for any other file: it is damaged, a key stands twice, or an annotation has more than
        plain numbers.
    """
    try:
        return _Reader(file, join).read()
    except (_NotPlainError, ValueError, RecursionError):  # of JSON, UTF-8 and long numbers
        return None


class _Reader:
    def __init__(self, file: BinaryIO, join: Join) -> None:
        self._file = file
        self._text, self._at, self._is_over = "", 0, False
        self._letters = codecs.getincrementaldecoder("utf-8")("strict")
        self._decoder = json.JSONDecoder(object_pairs_hook=join)

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        self._take("{")
        for _ in self._listed("}"):
            key = self._value()
            if not isinstance(key, str) or key in content:
                raise _NotPlainError
            self._take(":")
            is_list = self._next() == "["
            if is_list and key == "annotations":
                content[key] = self._table()
            else:
                content[key] = self._packed() if is_list and key == "images" else self._value()
        if self._next():
            raise _NotPlainError
        return content

    def _table(self) -> RowTable:
        table = RowTable.joined(map(self._columns, self._rows()))
        if table is None or table.has_repeated_ids():
            raise _NotPlainError
        return table

    @staticmethod
    def _columns(rows: list[Any]) -> RowTable:
        table = RowTable.of(rows)
        if table is None:
            raise _NotPlainError
        return table

    def _packed(self) -> PackedRows:
        packed = PackedRows()
        for rows in self._rows():
            packed.extend(rows)
        return packed

    def _rows(self) -> Iterator[list[Any]]:
        """Take a list, and yield its items some at a time."""
        self._take("[")
        rows: list[Any] = []
        for _ in self._listed("]"):
            rows.append(self._value())
            if len(rows) == _ROWS:
                yield rows
                rows = []
        if rows:
            yield rows

    def _listed(self, end: str) -> Iterator[None]:
        """Yield where the next item of a list or object begins, until its end is taken."""
        if self._next() == end:
            self._at += 1
            return
        while True:
            yield
            letter = self._next()
            self._at += 1
            if letter == end:
                return
            if letter != ",":
                raise _NotPlainError

    def _value(self) -> Any:
        """Take a value; where the text ends in it, more is read first."""
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                end = len(self._text)
            else:
                if end < len(self._text) or self._is_over:  # else a number may go on
                    self._at = end
                    return value
            if self._is_over:
                raise _NotPlainError
            self._read_on()

    def _take(self, letter: str) -> None:
        if self._next() != letter:
            raise _NotPlainError
        self._at += 1

    def _next(self) -> str:
        """Give the next letter that is no blank, and stay before it; none at the end."""
        while True:
            match = _BLANKS.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._is_over:
                return self._text[self._at : self._at + 1]
            self._read_on()

    def _read_on(self) -> None:
        """Drop what was taken, and read as much again as is kept, or one piece."""
        self._text = self._text[self._at :]
        self._at = 0
        piece = self._file.read(max(_PIECE_BYTES, len(self._text)))
        self._is_over = not piece
        self._text += self._letters.decode(piece, final=self._is_over)
