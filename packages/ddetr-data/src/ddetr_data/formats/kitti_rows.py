"""KITTI label files as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ddetr_data.formats.kitti import KittiError, parse_kitti_line
from ddetr_data.formats.rows import LabelRow, faulty_row, read_text_rows
from ddetr_data.images import ImageHeader


def read_kitti_rows(label: Path, header: ImageHeader) -> Iterator[LabelRow]:
    """Read a file of 15 or 16 columns; scores are ignored, and the image is not needed."""
    del header
    return read_text_rows(label, _read_line)


def _read_line(line: str, where: str) -> LabelRow:
    try:
        item = parse_kitti_line(line, where)
    except KittiError:
        return faulty_row(where, "malformed_line")
    return LabelRow(where, item.name, item.box_xyxy)
