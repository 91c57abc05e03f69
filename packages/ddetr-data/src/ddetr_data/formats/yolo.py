"""YOLO label files: "class cx cy width height" a line, normalised, class from 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ddetr_data.formats._yolo_columns import KptShape, Reading, readings, settle
from ddetr_data.formats.label_text import read_label_text
from ddetr_data.formats.rows import LabelRow, faulty_row, read_text_rows
from ddetr_data.images import ImageHeader

_LOOKED_AT = 1000  # label files that settle what doubtful lines of a set are


@dataclass(frozen=True)
class YoloReader:
    """Reads YOLO files; class numbers are looked up in class_names."""

    class_names: tuple[str, ...]
    kpt_shape: KptShape = None  # keypoints, and numbers of each; () for none; None: nobody said
    settled: Reading | None = None  # what a line is that can be read in several ways

    def __call__(self, label: Path, header: ImageHeader) -> Iterator[LabelRow]:
        """Read boxes, those of tracks and of keypoints too, or the boxes around polygons.

        Scores, tracks and keypoints are ignored. A line that can be read in several ways is a
        fault.
        """
        return read_text_rows(label, partial(self._read_line, header.size_wh))

    def informed_by(self, labels: Iterable[Path]) -> YoloReader:
        """Give a reader that takes the doubtful lines of a set for what its first files show."""
        lines = (line.split() for path in islice(labels, _LOOKED_AT) for line in _lines_of(path))
        return replace(self, settled=settle(lines, self.kpt_shape))

    def _read_line(self, image_size_wh: tuple[int, int], line: str, where: str) -> LabelRow:
        words = line.split()
        try:
            label, *numbers = (float(word) for word in words)
            found = readings(words, self.kpt_shape)
        except ValueError:
            return faulty_row(where, "malformed_line")
        if not label.is_integer() or not found:
            return faulty_row(where, "malformed_line")
        if not 0 <= label < len(self.class_names):
            return faulty_row(where, "unknown_class_number", f"class {label:.0f}")
        name = self.class_names[int(label)]
        reading = self.settled if self.settled in found else None
        if reading is None and (len(found) > 1 or "keypoints" in found):
            return faulty_row(where, "ambiguous_line", name)
        return LabelRow(where, name, _box_of(numbers, reading or found.pop(), image_size_wh))


def format_yolo_line(
    class_number: int, box_xywh: Sequence[float], image_size_wh: tuple[int, int]
) -> str:
    """A line without its end; eight decimals are finer than a pixel of any image."""
    width, height = image_size_wh
    left, top, box_width, box_height = box_xywh
    center_x, center_y = left + box_width / 2, top + box_height / 2
    box = (center_x / width, center_y / height, box_width / width, box_height / height)
    return " ".join([str(class_number), *(f"{number:.8f}" for number in box)])


def _box_of(
    numbers: list[float], reading: Reading, image_size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Pixels from a normalised box, or from the corners of a polygon."""
    width, height = image_size_wh
    if reading == "polygon":
        left, right = min(numbers[::2]), max(numbers[::2])
        top, bottom = min(numbers[1::2]), max(numbers[1::2])
    else:
        x, y, w, h = numbers[:4]
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return left * width, top * height, right * width, bottom * height


def _lines_of(path: Path) -> list[str]:
    """The lines of a label file; none where it cannot be read, which is told when it is."""
    try:
        return read_label_text(path)[0].splitlines()
    except (OSError, ValueError):
        return []
