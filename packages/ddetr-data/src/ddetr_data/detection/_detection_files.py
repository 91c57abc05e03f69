"""All detections of a run in one file: COCO JSON, CSV or both."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ddetr_data.categories import ClassNames
from ddetr_data.coco import category_rows, image_row, object_row
from ddetr_data.detection._rank_file import Found
from ddetr_data.files import Content, write_all
from ddetr_data.safe_text import table_cell
from ddetr_data.types import Category

_COLUMNS = ("file_name", "class_id", "class", "score", "left", "top", "right", "bottom")

Read: TypeAlias = Callable[[], Iterable[Found]]


def write_detection_files(
    folder: Path, read: Read, categories: Sequence[Category], *, coco_json: bool, csv_file: bool
) -> None:
    """Write detections.json and detections.csv, those that are wanted, or none of them.

    Args:
        folder: Where to.
        read: Gives the detections of all images, and may be called again. Of every image only its
            name and size stay in memory.
        categories: Names of the labels; a label that they lack joins them as class_<id>.
        coco_json: Whether a COCO data set is wanted.
        csv_file: Whether a table is wanted.

    Raises:
        OSError: a file cannot be written; the error names it.
    """
    contents: dict[Path, Content] = {}
    if coco_json:
        contents[folder / "detections.json"] = partial(_write_coco, read, categories)
    if csv_file:
        contents[folder / "detections.csv"] = partial(_write_csv, read, categories)
    write_all(contents)


def _write_csv(read: Read, categories: Sequence[Category], file: BinaryIO) -> None:
    names = ClassNames(categories)
    table = csv.writer(_Encoder(file, "surrogateescape"))
    table.writerow(_COLUMNS)
    for found in read():
        for label, score, corners in _objects(found):
            table.writerow((table_cell(found[0]), label, table_cell(names[label]), score, *corners))


def _write_coco(read: Read, categories: Sequence[Category], file: BinaryIO) -> None:
    names = ClassNames(categories)
    images: list[dict[str, Any]] = []
    nameless: set[int] = set()
    count = 0
    text = _Encoder(file, "backslashreplace")  # which makes JSON's own escapes
    text.write('{"annotations": [')
    for found in read():
        images.append(image_row(len(images) + 1, found[0], found[1]))
        for label, score, (left, top, right, bottom) in _objects(found):
            count += 1
            nameless |= {label} - names.keys()
            box = [left, top, round(right - left, 2), round(bottom - top, 2)]
            area = round((right - left) * (bottom - top), 2)
            row = {**object_row(count, len(images), label, box, area), "score": score}
            text.write((",\n" if count > 1 else "\n") + json.dumps(row))
    added = (Category(label, names[label]) for label in sorted(nameless))
    rest = {"images": images, "categories": category_rows((*categories, *added))}
    text.write("],\n" + json.dumps(rest, ensure_ascii=False)[1:])


def _objects(found: Found) -> Iterator[tuple[int, float, list[float]]]:
    """Yield label, score and corners, inside of the image, of each detection."""
    _, (width, height), detections = found
    columns = (detections.boxes_xyxy, detections.scores, detections.labels)
    for box, score, label in zip(*(column.tolist() for column in columns), strict=True):
        left, right = (min(max(side, 0.0), width) for side in box[0::2])
        top, bottom = (min(max(side, 0.0), height) for side in box[1::2])
        yield label, round(score, 6), [round(side, 2) for side in (left, top, right, bottom)]


@dataclass(frozen=True)
class _Encoder:
    """Writes texts to a file of bytes."""

    file: BinaryIO
    errors: str  # what becomes of half a surrogate pair, as of a name that is no UTF-8

    def write(self, text: str) -> int:
        return self.file.write(text.encode("utf-8", self.errors))
