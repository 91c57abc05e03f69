"""Pascal VOC annotations: an XML file an image, pixels counted from 1, both ends inside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import BORDER_TOLERANCE, upright_boxes
from ddetr_data.faults import DataError
from ddetr_data.files import read_regular
from ddetr_data.formats.rows import LabelRow, faulty_row
from ddetr_data.images import (
    UNTRUE_SIZE,
    ImageHeader,
    find_placeholders,
    move_boxes,
    read_header,
    size_fault,
)

_LOOKED_AT = 1000  # files that tell which stated sizes are placeholders
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocReader:
    """Reads VOC files."""

    untrue_sizes: frozenset[tuple[int, int]] = frozenset()  # stated of many images, of none true

    def __call__(self, label: Path, header: ImageHeader) -> Iterator[LabelRow]:
        """Read the objects; those that are difficult are marked to be ignored.

        A box that CVAT has rotated is the upright one around it. Where the file states another size
        than the image has, and its boxes fit into that, they follow the image as COCO's do; another
        size, a placeholder, folder and file name are not believed.
        """
        root = _annotation_of(label)
        if root is None:
            yield faulty_row(str(label), "malformed_label_file")
            return
        items = list(root.iter("object"))
        boxes_xywh = [_box_of(item) for item in items]
        stated_wh = _stated_wh(root, boxes_xywh) or header.size_wh
        is_moved = stated_wh != header.size_wh
        if is_moved:
            fault = size_fault(stated_wh, header)
            is_moved = fault == "turned_image" or stated_wh not in self.untrue_sizes
            yield faulty_row(str(label), fault if is_moved else UNTRUE_SIZE)
        for number, (item, box_xywh) in enumerate(zip(items, boxes_xywh, strict=True), start=1):
            where = f"{label}: object {number}"
            name = _name_of(item)
            if box_xywh is None or not name:
                yield faulty_row(where, "malformed_line", name)
                continue
            if is_moved:
                box_xywh = move_boxes(box_xywh[None], stated_wh, header)[1][0]
            degrees = _rotation_of(item)
            if degrees % 180:
                yield faulty_row(where, "rotated_box", name)
                box_xywh = upright_boxes(box_xywh[None], np.array([degrees]))[0]
            left, top, width, height = box_xywh.tolist()
            corners = (left, top, left + width, top + height)
            yield LabelRow(where, name, corners, is_ignored=_is_difficult(item))

    def informed_by(self, files: Iterable[tuple[Path, Path]]) -> VocReader:
        """Give a reader that knows which sizes are placeholders, from a set's first files.

        Args:
            files: label and image of each.
        """
        sizes_wh: list[tuple[int, int]] = []
        headers: dict[int, ImageHeader] = {}
        boxes: list[NDArray[np.float64]] = [np.zeros((0, 4))]
        owners: list[int] = []
        for label, image in islice(files, _LOOKED_AT):
            with suppress(OSError, DataError):  # told when it is read
                root = _annotation_of(label)
                found = [] if root is None else [_box_of(item) for item in root.iter("object")]
                stated_wh = None if root is None else _stated_wh(root, found)
                if stated_wh is None:
                    continue
                header, present = read_header(image), [box for box in found if box is not None]
                if header.size_wh != stated_wh:
                    headers[len(sizes_wh)] = header
                owners += [len(sizes_wh)] * len(present)
                boxes += [box[None] for box in present]
                sizes_wh.append(stated_wh)
        table = np.array(sizes_wh, np.int32).reshape(-1, 2)
        untrue = find_placeholders(
            table, headers, np.concatenate(boxes), np.array(owners, np.int64)
        )
        return replace(self, untrue_sizes=frozenset(sizes_wh[index] for index in untrue))


read_voc_rows = VocReader()


def read_voc_names(label: Path) -> list[str] | None:
    """Name the classes of a file's objects as read_voc_rows does; None for what is no VOC file.

    Raises:
        OSError: the file is missing or may not be read.
    """
    root = _annotation_of(label)
    if root is None:
        return None
    return [name for item in root.iter("object") if (name := _name_of(item))]


def _annotation_of(label: Path) -> ElementTree.Element | None:
    """The root of a VOC document, its tags without XML namespaces; None for anything else."""
    try:
        root = ElementTree.fromstring(read_regular(label))
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


def _name_of(item: ElementTree.Element) -> str:
    return " ".join((item.findtext("name") or "").split())


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


def _rotation_of(item: ElementTree.Element) -> float:
    """Degrees around the box's centre, which CVAT exports as an attribute."""
    for attribute in item.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            try:
                degrees = float(attribute.findtext("value") or 0)
            except ValueError:
                return 0.0
            return degrees if math.isfinite(degrees) else 0.0
    return 0.0
