"""What every label format is read to: one row an object, with its file and line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ddetr_data.formats.label_text import numbered_lines, read_label_text
from ddetr_data.images import ImageHeader


class LabelRow(NamedTuple):
    """An object as its label file has it, or why there is none."""

    where: str  # "file:line"
    name: str  # source class, "" where it cannot be told
    box_xyxy: tuple[float, float, float, float]  # pixels
    fault: str = ""  # a key of LABEL_FILE_RULES or faults.RULES, and no object then
    is_ignored: bool = False  # the file marks it to be ignored: a region, if those are wanted


# (label file, header of its image) -> rows; FileNotFoundError when there is no such file.
RowReader = Callable[[Path, ImageHeader], Iterator[LabelRow]]


class LabelFormat(NamedTuple):
    """One kind of label files."""

    extension: str  # how their names end, with the dot; the rest is the image's name
    read_rows: RowReader  # picklable, such as a function of a module: other processes call it


_NO_BOX = (math.nan, math.nan, math.nan, math.nan)


def faulty_row(where: str, fault: str, name: str = "") -> LabelRow:
    """A row that holds no object."""
    return LabelRow(where, name, _NO_BOX, fault)


def read_text_rows(label: Path, read_line: Callable[[str, str], LabelRow]) -> Iterator[LabelRow]:
    """Read a text file of one object a line; read_line takes a line and its "file:line"."""
    try:
        text, is_odd = read_label_text(label)
    except ValueError:
        yield faulty_row(str(label), "malformed_label_file")
        return
    if is_odd:
        yield faulty_row(str(label), "odd_label_encoding")
    for where, line in numbered_lines(text, label):
        yield read_line(line, where)
