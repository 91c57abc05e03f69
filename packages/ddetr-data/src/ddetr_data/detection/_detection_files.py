"""All detections of a run in one file, COCO JSON, CSV or both, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ddetr_data.files import naming, replacing_all
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
        wanted = {COCO_NAME: coco_json, CSV_NAME: csv_file}
        self._wanted = [name for name, is_wanted in wanted.items() if is_wanted]
        self._images: list[tuple[str, tuple[int, int]]] = []
        self._objects = 0
        self._nameless: set[int] = set()  # labels that the categories do not have
        self._stack = ExitStack()  # publishes, or removes, what is in the open files
        self._open_files = ExitStack()
        self._json: IO[str] | None = None
        self._csv: Any = None

    def __enter__(self) -> DetectionFiles:
        places = [self._folder / name for name in self._wanted]
        drafts = self._stack.enter_context(replacing_all(places))
        self._stack.enter_context(self._open_files)
        for name, draft in zip(self._wanted, drafts, strict=True):
            if name == COCO_NAME:
                # A name that is no UTF-8 becomes JSON's own escapes.
                self._json = self._open(draft, errors="backslashreplace")
                self._json.write('{"annotations": [')
            else:
                self._csv = csv.writer(self._open(draft, errors="surrogateescape"))
                self._csv.writerow(_COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack, naming(self._folder):
            if self._json is not None:
                self._end_json(self._json)
            self._open_files.close()

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

    def _open(self, draft: Path, errors: str) -> IO[str]:
        file = draft.open("w", encoding="utf-8", newline="", errors=errors)
        return self._open_files.enter_context(file)
