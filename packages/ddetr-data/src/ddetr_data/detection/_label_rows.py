"""Where objects of a loaded set stand in their files: the ids that the JSON writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddetr_data.coco import find_json_files, read_json_object
from ddetr_data.config import DataSource
from ddetr_data.faults import FaultLog
from ddetr_data.types import ImageRecord


@dataclass(frozen=True)
class LabelRow:
    """A row of a file: its own ids, which a loaded set may have numbered anew."""

    file: str
    image_id: Any
    annotation_id: Any = None  # None: of the image alone


class LabelRows:
    """The rows of some images of a split's sources."""

    def __init__(self, sources: Sequence[DataSource], records: Collection[ImageRecord]) -> None:
        """Read each file once.

        Raises:
            DataError, FileNotFoundError: as when the set was loaded.
        """
        self._images: dict[tuple[int, str], LabelRow] = {}
        self._objects: dict[tuple[int, str], list[tuple[Any, list[float]]]] = defaultdict(list)
        wanted = {(record.source, record.file_name) for record in records}
        for number, source in enumerate(sources):
            names = {name for source_number, name in wanted if source_number == number}
            for path in find_json_files(source.json_file) if names else ():
                self._read(number, str(path), read_json_object(path, FaultLog()), names)

    def _read(self, source: int, file: str, content: dict[str, Any], names: set[str]) -> None:
        keys: dict[str, tuple[int, str]] = {}  # by image id, which may be a text there
        for row in content.get("images") or ():
            if isinstance(row, dict) and row.get("file_name") in names:
                key = (source, row["file_name"])
                keys[str(row.get("id"))] = key
                self._images[key] = LabelRow(file, row.get("id"))
        for row in content.get("annotations") or ():
            found = keys.get(str(row.get("image_id"))) if isinstance(row, dict) else None
            if found is not None and _is_box(row.get("bbox")):
                self._objects[found].append((row.get("id"), [float(side) for side in row["bbox"]]))

    def of_image(self, record: ImageRecord) -> LabelRow | None:
        """The row of an image; None where its name is written otherwise."""
        return self._images.get((record.source, record.file_name))

    def of_object(self, record: ImageRecord, index: int) -> LabelRow | None:
        """The row of one of its objects: the one whose box is nearest, which may be mended."""
        image, rows = self.of_image(record), self._objects[record.source, record.file_name]
        if image is None or not rows:
            return image
        boxes = np.array([box for _, box in rows])
        nearest = int(np.abs(boxes - record.boxes_xywh[index]).sum(1).argmin())
        return LabelRow(image.file, image.image_id, rows[nearest][0])


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(side, (int, float)) for side in value)
    )
