"""The annotations of one COCO file, cleaned by the rules and sorted by image.

I images of the file, N rows that are left.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import (
    find_normalised,
    find_repeats,
    find_wrong_format,
    judge_boxes,
)
from ddetr_data.coco._ids import as_id
from ddetr_data.coco._images import FileImages
from ddetr_data.coco._row_boxes import boxes_of_rows
from ddetr_data.coco._row_table import Row, RowTable, kept_rows, numbers_of
from ddetr_data.coco._stated_sizes import contradicted_sizes
from ddetr_data.faults import RULES, UNKNOWN_CLASS, FaultLog, Losses
from ddetr_data.locations import AnyFile
from ddetr_data.types import Annotations, Category


@dataclass(frozen=True)
class ObjectReader:
    """Reads the annotation rows of one file; every step counts what it mends or drops."""

    path: AnyFile
    faults: FaultLog
    images: FileImages
    categories: tuple[Category, ...]
    ignore_regions: bool  # objects that are marked `ignore` are regions
    losses: Losses = field(default_factory=Losses)  # what reading drops

    def read(self, values: object) -> tuple[NDArray[np.int64], Annotations]:
        """Read a file's `annotations`.

        Returns:
            How many usable objects each image has (I,), and all of them, image by image.

        Raises:
            DataError: a category is unknown, or the boxes are in another format.
        """
        if not isinstance(values, (list, RowTable)):
            self.faults.add("missing_annotations", str(self.path))
            values = []
        rows = self._distinct(self._rows_of(values))
        image, label = self._images_of(rows), self._labels_of(rows)
        self._lose("unknown_image", image < 0, label, rows)
        self._lose("annotation_without_category", (image >= 0) & (label < 0), label, rows)
        known = (image >= 0) & (label >= 0)
        rows = kept_rows(rows, known)
        image, label = image[known], label[known]
        boxes, usable = self._boxes_of(rows, image, label)
        order = np.flatnonzero(usable)[np.argsort(image[usable], kind="stable")]
        is_crowd, area = self._crowds_of(rows), self._areas_of(rows, boxes, usable)
        # Without regions a crowd stays what it is, whatever else it is marked with.
        candidates = usable if self.ignore_regions else usable & ~is_crowd
        is_region = self._regions_of(rows, image, boxes, candidates)
        self._note_repeats(rows, image, label, boxes, usable & ~is_crowd & ~is_region)
        counts = np.bincount(image[order], minlength=len(self.images.names))
        objects = Annotations(boxes, label, is_crowd | is_region, area, is_region)
        is_in_order = len(order) == len(boxes) and bool((np.diff(order) > 0).all())
        return counts, objects if is_in_order else objects.keep(order)

    def _rows_of(self, values: Sequence[Any]) -> Sequence[Row]:
        if isinstance(values, RowTable):
            return values
        strange = [number for number, row in enumerate(values) if not isinstance(row, dict)]
        locations = (f"annotation row {number}" for number in strange)
        self.faults.add_rows("row_not_object", str(self.path), locations, len(strange))
        self.losses.update([("row_not_object", UNKNOWN_CLASS)] * len(strange))
        return [row for row in values if isinstance(row, dict)] if strange else values

    def _distinct(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Drop rows that repeat another with the same id; ids themselves are not kept."""
        if isinstance(rows, RowTable):  # in which no id stands twice
            return rows
        ids = [as_id(row.get("id")) for row in rows]
        if None not in ids and len(set(ids)) == len(ids):
            return rows
        known: set[Hashable] = set()  # ids, and pairs of an id and its row as text
        kept = []
        for identity, row in zip(ids, rows, strict=True):
            where = f"{self.path}, {_location_of(row)}"
            id_and_row = (identity, json.dumps(row, sort_keys=True))
            if identity is None:
                self.faults.add("annotation_without_id", where)
            elif id_and_row in known:
                self.faults.add("repeated_annotation", where)
                continue
            elif identity in known:
                self.faults.add("shared_annotation_id", where)
            known |= {identity, id_and_row}
            kept.append(row)
        return kept

    def _images_of(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Find each row's image, (N,) positions, -1 where it is not in the file."""
        find = self.images.index.get
        found = numbers_of(rows, "image_id", lambda key: find(as_id(key), -1), np.int64)
        self._count("unknown_image", found < 0, rows)
        self._count_texts("image_id", rows)
        return found

    def _labels_of(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Find each row's category id, (N,), -1 where there is none."""
        known: dict[Hashable, int] = {category.id: category.id for category in self.categories}

        def find(key: object) -> int:
            return -1 if key is None else known.get(as_id(key), -2)

        label = numbers_of(rows, "category_id", find, np.int64)
        if (label == -2).any():
            self._refuse_unknown(kept_rows(rows, label == -2))
        self._count("annotation_without_category", label == -1, rows)
        self._count_texts("category_id", rows)
        return label

    def _refuse_unknown(self, rows: Sequence[Row]) -> None:
        self.faults.refuse(
            "unknown_category",
            f"{self.path}: category_id {rows[0]['category_id']!r} of annotation "
            f"{rows[0].get('id')!r} is not in `categories` ({len(rows)} such annotations)",
            (f"{_location_of(row)}: category_id {row['category_id']!r}" for row in rows),
            len(rows),
        )

    def _boxes_of(
        self, rows: Sequence[Row], image: NDArray[np.int64], label: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read and clip the boxes, (N, 4), and say which are usable, (N,)."""
        boxes, found = boxes_of_rows(rows)
        sizes_wh = self._settled_sizes(boxes, image)[image]
        wrong_format = find_wrong_format(boxes, sizes_wh)
        if wrong_format is not None:
            self.faults.refuse(
                "other_box_format",
                f"{self.path}: bbox must be left, top, width, height in pixels, the boxes of this "
                f"file are {wrong_format}; the first is {rows[0].get('bbox')}",
                (f"{_location_of(row)}: {row.get('bbox')}" for row in rows),
                len(rows),
            )
            return boxes, np.logical_and.reduce(np.isfinite(boxes), axis=1)
        found["normalised_box"] = find_normalised(boxes, sizes_wh)
        boxes, judged = judge_boxes(boxes, sizes_wh)
        usable = np.ones(len(rows), np.bool_)
        for fault, mask in (*found.items(), *judged.items()):
            self._count(fault, mask & usable, rows)
            if RULES[fault].action == "drop":
                self._lose(fault, mask & usable, label, rows)
                usable &= ~mask
        return boxes, usable

    def _settled_sizes(
        self, boxes: NDArray[np.float64], image: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Sizes of the images, (I, 2); those that the boxes contradict are the images' own."""
        sizes_wh = self.images.size_array_wh()
        for index, size_wh in contradicted_sizes(boxes, image, sizes_wh, self.images.locate):
            stated = "{} x {}".format(*self.images.sizes_wh[index])
            actual = "{} x {}".format(*size_wh)
            where = f"image {self.images.names[index]} is {actual} pixels, the labels say {stated}"
            self.faults.add("other_image_size", f"{self.path}, {where}")
            self.images.sizes_wh[index] = size_wh
        return self.images.size_array_wh()

    def _areas_of(
        self, rows: Sequence[Row], boxes: NDArray[np.float64], usable: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        if isinstance(rows, RowTable):
            areas = rows.columns.get("area", np.full(len(rows), np.nan))
        else:
            areas = np.array([_as_number(row.get("area")) for row in rows], np.float64)
        unusable = ~(np.isfinite(areas) & (areas > 0))
        self._count("filled_area", unusable & usable, rows)
        with np.errstate(over="ignore"):  # of boxes that are dropped
            return np.where(unusable, boxes[:, 2] * boxes[:, 3], areas)

    def _crowds_of(self, rows: Sequence[Row]) -> NDArray[np.bool_]:
        unusable = numbers_of(rows, "iscrowd", lambda value: _flag(value) not in (0, 1), np.bool_)
        self._count("filled_is_crowd", unusable, rows)
        texts = numbers_of(rows, "iscrowd", lambda value: isinstance(value, str), np.bool_)
        self._count("text_is_crowd", texts & ~unusable, rows)
        return _are_one(rows, "iscrowd")

    def _regions_of(
        self,
        rows: Sequence[Row],
        image: NDArray[np.int64],
        boxes: NDArray[np.float64],
        candidates: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Which of the candidates (N,) are regions; one of every class has a row a class."""
        is_marked = _are_one(rows, "ignore") & candidates
        if not self.ignore_regions:
            self._count("marked_ignore", is_marked, rows)
            return np.zeros(len(rows), np.bool_)
        marked = np.flatnonzero(is_marked)
        places = np.column_stack([image, boxes])[marked]
        _, first = np.unique(places, axis=0, return_index=True)
        distinct = np.zeros(len(rows), np.bool_)
        distinct[marked[first]] = True
        self._count("ignore_region", distinct, rows)
        return is_marked

    def _note_repeats(
        self,
        rows: Sequence[Row],
        image: NDArray[np.int64],
        label: NDArray[np.int64],
        boxes: NDArray[np.float64],
        kept: NDArray[np.bool_],
    ) -> None:
        repeats = np.zeros(len(rows), np.bool_)
        repeats[kept] = find_repeats(image[kept], label[kept], *boxes[kept].T)
        self._count("repeated_box", repeats, rows)

    def _lose(
        self, fault: str, mask: NDArray[np.bool_], label: NDArray[np.int64], rows: Sequence[Row]
    ) -> None:
        """Count dropped objects, those of a mask (N,), by class; crowds and regions are none."""
        if not mask.any():
            return
        dropped, labels = kept_rows(rows, mask), label[mask]
        counted = ~_are_one(dropped, "iscrowd")
        if self.ignore_regions:
            counted &= ~_are_one(dropped, "ignore")
        self.losses.update((fault, max(each, UNKNOWN_CLASS)) for each in labels[counted].tolist())

    def _count_texts(self, key: str, rows: Sequence[Row]) -> None:
        texts = numbers_of(rows, key, lambda value: isinstance(value, str), np.bool_)
        self._count("text_id", texts, rows)

    def _count(self, fault: str, mask: NDArray[np.bool_], rows: Sequence[Row]) -> None:
        found = [rows[index] for index in np.flatnonzero(mask).tolist()]
        self.faults.add_rows(fault, str(self.path), map(_location_of, found), len(found))


def _location_of(row: Row) -> str:
    return f"annotation {row.get('id')}, image {row.get('image_id')}"


def _flag(value: object) -> bool | int | str | None:
    return value if isinstance(value, bool) else as_id(value)


def _are_one(rows: Sequence[Row], key: str) -> NDArray[np.bool_]:
    return numbers_of(rows, key, lambda value: _flag(value) == 1, np.bool_)


def _as_number(value: object) -> float:
    """Read a number; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("nan")
