"""The images of one COCO file: their ids, names and sizes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco._ids import as_id, is_exact_id
from ddetr_data.coco._row_table import PackedRows
from ddetr_data.coco.image_table import locate_image
from ddetr_data.faults import DataError, FaultLog
from ddetr_data.images import read_image_size_wh
from ddetr_data.locations import AnyFile

LARGEST_SIDE = 2**31 - 1  # pixels


@dataclass(frozen=True)
class FileImages:
    """The images of a file in its order; I of them."""

    image_dir: str
    index: dict[Hashable, int] = field(default_factory=dict)  # id as in the file -> position
    names: list[str] = field(default_factory=list)
    sizes_wh: list[tuple[int, int]] = field(default_factory=list)
    _distinct_sizes: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def add(self, identity: int | str, file_name: str, size_wh: tuple[int, int]) -> None:
        """Append one image."""
        self.index[identity] = len(self.names)
        self.names.append(file_name)
        self.sizes_wh.append(self._distinct_sizes.setdefault(size_wh, size_wh))

    def locate(self, position: int) -> AnyFile:
        """The path or URL of one image."""
        return locate_image(self.image_dir, self.names[position])

    def ids(self) -> NDArray[np.int64]:
        """(I,) ids, -1 where the file's own cannot be kept."""
        kept = [id if isinstance(id, int) and is_exact_id(id) else -1 for id in self.index]
        return np.array(kept, np.int64)

    def size_array_wh(self) -> NDArray[np.int32]:
        """(I, 2), width then height in pixels."""
        return np.array(self.sizes_wh, np.int32).reshape(-1, 2)


@dataclass(frozen=True)
class ImageReader:
    """How the image rows of one source's files are read."""

    image_dir: str
    faults: FaultLog
    skip_unreadable: bool = False

    def read(self, rows: object, path: AnyFile) -> FileImages:
        """Read a file's `images`.

        Raises:
            DataError: there are none, two have one id, or an image's size cannot be found out.
        """
        if not isinstance(rows, (list, PackedRows)) or not rows:
            self.faults.refuse(
                "no_images", f"{path} must list its images under `images`, it has none"
            )
            rows = []
        images = FileImages(self.image_dir)
        for number, row in enumerate(rows):
            where = f"{path}, image row {number}"
            if isinstance(row, dict):
                self._read_row(row, where, images)
            else:
                self.faults.add("row_not_object", where)
        return images

    def _read_row(self, row: dict[str, Any], where: str, images: FileImages) -> None:
        identity, file_name = as_id(row.get("id")), row.get("file_name")
        if identity is None:
            self.faults.add("image_without_id", where)
            return
        where = f"{where}, image id {identity}"
        if not isinstance(file_name, str) or not file_name.strip():
            self.faults.add("image_without_file_name", where)
        elif identity in images.index:
            known = images.names[images.index[identity]]
            if known != file_name:
                sentence = f"{where} stands for both {known!r} and {file_name!r}"
                self.faults.refuse("two_file_names", sentence)
            else:
                self.faults.add("repeated_image", where)
        else:
            if isinstance(row["id"], str):
                self.faults.add("text_id", where)
            size_wh = self._size_of(row, file_name, where)
            if size_wh is not None:
                images.add(identity, file_name, size_wh)

    def _size_of(self, row: dict[str, Any], file_name: str, where: str) -> tuple[int, int] | None:
        """Take the row's size, or else the image's own; None when that cannot be read."""
        width, height = as_id(row.get("width")), as_id(row.get("height"))
        if _is_side(width) and _is_side(height):
            if isinstance(row["width"], str) or isinstance(row["height"], str):
                self.faults.add("text_image_size", where)
            return int(width), int(height)
        try:
            size_wh = read_image_size_wh(locate_image(self.image_dir, file_name))
        except (DataError, FileNotFoundError) as error:
            if self.skip_unreadable:
                self.faults.add("unreadable_image", where)
            else:
                self.faults.refuse("no_image_size", f"{where} has no width and height, and {error}")
            return None
        self.faults.add("filled_image_size", where)
        return size_wh


def _is_side(value: int | str | None) -> TypeGuard[int]:
    return isinstance(value, int) and 0 < value <= LARGEST_SIDE
