"""YOLO label files: "class cx cy width height" a line, normalised, class from 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ddetr_data.formats.rows import LabelRow, faulty_row, read_text_rows
from ddetr_data.images import ImageHeader

_BOX_COLUMNS = (5, 6)  # class and box; the sixth is a score
_FEWEST_POLYGON_COLUMNS = 7  # class and three corners


@dataclass(frozen=True)
class YoloReader:
    """Reads YOLO files; class numbers are looked up in class_names."""

    class_names: tuple[str, ...]

    def __call__(self, label: Path, header: ImageHeader) -> Iterator[LabelRow]:
        """Read boxes, or the boxes around polygons; scores are ignored."""
        return read_text_rows(label, partial(self._read_line, header.size_wh))

    def _read_line(self, image_size_wh: tuple[int, int], line: str, where: str) -> LabelRow:
        try:
            label, *numbers = (float(word) for word in line.split())
            box = _box_of(numbers, image_size_wh)
        except ValueError:
            return faulty_row(where, "malformed_line")
        if not label.is_integer():
            return faulty_row(where, "malformed_line")
        if not 0 <= label < len(self.class_names):
            return faulty_row(where, "unknown_class_number", f"class {label:.0f}")
        return LabelRow(where, self.class_names[int(label)], box)


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
    numbers: list[float], image_size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Pixels from a normalised box or polygon; ValueError for another number of columns."""
    width, height = image_size_wh
    columns = len(numbers) + 1
    if columns in _BOX_COLUMNS:
        x, y, w, h = numbers[:4]
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    elif columns >= _FEWEST_POLYGON_COLUMNS and columns % 2:
        left, right = min(numbers[::2]), max(numbers[::2])
        top, bottom = min(numbers[1::2]), max(numbers[1::2])
    else:
        raise ValueError(f"a YOLO line has 5 or 6 columns or a polygon, got {columns}")
    return left * width, top * height, right * width, bottom * height
