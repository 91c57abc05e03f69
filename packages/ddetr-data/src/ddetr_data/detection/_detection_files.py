"""All detections of a run in one file, COCO JSON, CSV or both, written as they come."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ddetr_data.files import naming
from ddetr_data.types import Category, Detections

__all__ = ["COCO_NAME", "CSV_NAME", "DetectionFiles"]

COCO_NAME = "detections.json"
CSV_NAME = "detections.csv"
_COLUMNS = ("file_name", "class_id", "class", "score", "left", "top", "right", "bottom")


class DetectionFiles:
    """While entered, takes the detections of one image after the other.

    The files get their names when all is written. Of every image only its name and size stay in
    memory.
    """

    def __init__(
        self, folder: Path, categories: Sequence[Category], *, coco_json: bool, csv_file: bool
    ) -> None:
        self._folder = folder
        self._categories = tuple(categories)
        self._names = {category.id: category.name for category in categories}
        self._wanted = {COCO_NAME: coco_json, CSV_NAME: csv_file}
        self._images: list[tuple[str, tuple[int, int]]] = []
        self._objects = 0
        self._nameless: set[int] = set()  # labels that the categories do not have
        self._stack = ExitStack()
        self._json: IO[str] | None = None
        self._csv: Any = None

    def __enter__(self) -> DetectionFiles:
        if self._wanted[COCO_NAME]:
            # A name that is no UTF-8 becomes JSON's own escapes.
            self._json = self._open(COCO_NAME, errors="backslashreplace")
            self._json.write('{"annotations": [')
        if self._wanted[CSV_NAME]:
            self._csv = csv.writer(self._open(CSV_NAME, errors="surrogateescape"))
            self._csv.writerow(_COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        names = [name for name, is_wanted in self._wanted.items() if is_wanted]
        try:
            with naming(self._folder):
                if self._json is not None and error is None:
                    self._end_json(self._json)
                self._stack.close()
            for name in names if error is None else ():
                os.replace(self._part(name), self._folder / name)
        finally:
            for name in names:
                self._part(name).unlink(missing_ok=True)

    def add(self, file_name: str, size_wh: tuple[int, int], found: Detections) -> None:
        """Take the detections of an image; boxes are kept inside of it."""
        width, height = size_wh
        self._images.append((file_name, size_wh))
        columns = (found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist())
        with naming(self._folder):
            for box, score, label in zip(*columns, strict=True):
                left, right = (min(max(side, 0.0), width) for side in box[0::2])
                top, bottom = (min(max(side, 0.0), height) for side in box[1::2])
                corners = [round(side, 2) for side in (left, top, right, bottom)]
                self._write(file_name, label, round(score, 6), corners)

    def _write(self, file_name: str, label: int, score: float, corners: list[float]) -> None:
        left, top, right, bottom = corners
        self._objects += 1
        if label not in self._names:
            self._nameless.add(label)
        if self._csv is not None:
            self._csv.writerow((file_name, label, self._name(label), score, *corners))
        if self._json is not None:
            row = {
                "id": self._objects,
                "image_id": len(self._images),
                "category_id": label,
                "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "area": round((right - left) * (bottom - top), 2),
                "iscrowd": 0,
                "score": score,
            }
            self._json.write((",\n" if self._objects > 1 else "\n") + json.dumps(row))

    def _end_json(self, file: IO[str]) -> None:
        images = [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(self._images, start=1)
        ]
        labels = [each.id for each in self._categories] + sorted(self._nameless)
        categories = [{"id": label, "name": self._name(label)} for label in labels]
        rest = {"images": images, "categories": categories}
        file.write("],\n" + json.dumps(rest, ensure_ascii=False)[1:])

    def _name(self, label: int) -> str:
        return self._names.get(label, f"class_{label}")

    def _open(self, name: str, errors: str) -> IO[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._part(name).open("w", encoding="utf-8", newline="", errors=errors)
        return self._stack.enter_context(file)

    def _part(self, name: str) -> Path:
        return self._folder / f".{name}.part"
