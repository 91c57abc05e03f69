"""Pascal VOC annotations: an XML file an image, pixels counted from 1, both ends inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ddetr_data.formats.rows import LabelRow, faulty_row

__all__ = ["read_voc_rows"]


def read_voc_rows(label: Path, image_size_wh: tuple[int, int]) -> Iterator[LabelRow]:
    """Read the objects, difficult ones too; the size that the file states is not believed."""
    del image_size_wh
    try:
        root = ElementTree.fromstring(label.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter for odd encodings
        yield faulty_row(str(label), "malformed_label_file")
        return
    for number, item in enumerate(root.iter("object"), start=1):
        where = f"{label}: object {number}"
        name = (item.findtext("name") or "").strip()
        try:
            left, top, right, bottom = (
                float(item.findtext(f"bndbox/{side}") or "")
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            yield faulty_row(where, "malformed_line", name)
            continue
        yield LabelRow(where, name, (left - 1, top - 1, right, bottom))
