"""KITTI label files as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ddetr_data.formats.rows import LabelRow, faulty_row
from ddetr_data.kitti import KittiError, read_kitti_lines

__all__ = ["read_kitti_rows"]


def read_kitti_rows(label: Path, image_size_wh: tuple[int, int]) -> Iterator[LabelRow]:
    """Read a file of 15 or 16 columns; scores are ignored, and the image's size is not needed."""
    del image_size_wh
    try:
        for where, item in read_kitti_lines(label):
            if isinstance(item, KittiError):
                yield faulty_row(where, "malformed_line")
            else:
                yield LabelRow(where, item.name, item.box_xyxy)
    except KittiError:
        yield faulty_row(str(label), "malformed_label_file")
