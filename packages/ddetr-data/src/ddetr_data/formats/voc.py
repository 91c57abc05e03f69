"""Pascal VOC annotations: an XML file an image, pixels counted from 1, both ends inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import BORDER_TOLERANCE
from ddetr_data.files import read_regular
from ddetr_data.formats.rows import LabelRow, faulty_row
from ddetr_data.images import ImageHeader, move_boxes, size_fault

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc_rows(label: Path, header: ImageHeader) -> Iterator[LabelRow]:
    """Read the objects; those that are difficult are marked to be ignored.

    Where the file states another size than the image has, and its boxes fit into that, they follow
    the image as COCO's do; another size, folder and file name are not believed.
    """
    root = _annotation_of(read_regular(label))
    if root is None:
        yield faulty_row(str(label), "malformed_label_file")
        return
    items = list(root.iter("object"))
    boxes_xywh = [_box_of(item) for item in items]
    stated_wh = _stated_wh(root, boxes_xywh) or header.size_wh
    is_moved = stated_wh != header.size_wh
    if is_moved:
        yield faulty_row(str(label), size_fault(stated_wh, header))
    for number, (item, box_xywh) in enumerate(zip(items, boxes_xywh, strict=True), start=1):
        where = f"{label}: object {number}"
        name = " ".join((item.findtext("name") or "").split())
        if box_xywh is None or not name:
            yield faulty_row(where, "malformed_line", name)
            continue
        if is_moved:
            box_xywh = move_boxes(box_xywh[None], stated_wh, header)[1][0]
        left, top, width, height = box_xywh.tolist()
        corners = (left, top, left + width, top + height)
        yield LabelRow(where, name, corners, is_ignored=_is_difficult(item))


def _annotation_of(content: bytes) -> ElementTree.Element | None:
    """The root of a VOC document, its tags without XML namespaces; None for anything else."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter for odd encodings
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root if root.tag == "annotation" else None


def _stated_wh(
    root: ElementTree.Element, boxes_xywh: Sequence[NDArray[np.float64] | None]
) -> tuple[int, int] | None:
    """The image's size in pixels, where the file has one that holds all its boxes, (4,) each."""
    try:
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        return None
    if width < 1 or height < 1:
        return None
    limits = np.array([width, height]) + BORDER_TOLERANCE
    fits = [(box[:2] + box[2:] <= limits).all() for box in boxes_xywh if box is not None]
    return (width, height) if fits and all(fits) else None


def _is_difficult(item: ElementTree.Element) -> bool:
    return (item.findtext("difficult") or "").strip().lower() in ("1", "true")


def _box_of(item: ElementTree.Element) -> NDArray[np.float64] | None:
    """(4,) left, top, width, height in pixels counted from 0; None where there is no box."""
    try:
        sides = [float(item.findtext(f"bndbox/{side}") or "") for side in _SIDES]
    except ValueError:
        return None
    left, top, right, bottom = sides
    return np.array([left - 1, top - 1, right - left + 1, bottom - top + 1])
