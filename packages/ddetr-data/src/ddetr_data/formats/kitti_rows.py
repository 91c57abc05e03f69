"""KITTI label files as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ddetr_data.formats._label_text import read_label_text
from ddetr_data.formats.kitti import KittiError, parse_kitti_lines
from ddetr_data.formats.rows import LabelRow, faulty_row
from ddetr_data.images import ImageHeader


def read_kitti_rows(label: Path, header: ImageHeader) -> Iterator[LabelRow]:
    """Read a file of 15 or 16 columns; scores are ignored, and the image is not needed."""
    del header
    try:
        content = read_label_text(label)
    except ValueError:
        yield faulty_row(str(label), "malformed_label_file")
        return
    if content.is_odd:
        yield faulty_row(str(label), "odd_label_encoding")
    for where, item in parse_kitti_lines(content.text, label):
        if isinstance(item, KittiError):
            yield faulty_row(where, "malformed_line")
        else:
            yield LabelRow(where, item.name, item.box_xyxy)
