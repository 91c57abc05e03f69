"""All labels of a conversion as columns, and any choice of its images as a COCO table.

I images, N objects of all images together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import category_rows, ends_of, image_row, object_row
from ddetr_data.convert.label_chunks import LabelChunk
from ddetr_data.types import Category


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Images in their order, each with its run of objects."""

    file_names: list[str]  # (I,)
    sequences: list[int]  # (I,)
    sizes_wh: list[tuple[int, int]]  # (I,)
    ends: NDArray[np.int64]  # (I + 1,), image i has the objects ends[i] to ends[i + 1]
    labels: NDArray[np.int64]  # (N,), category ids
    boxes_xywh: NDArray[np.float64]  # (N, 4)
    is_region: NDArray[np.bool_]  # (N,)
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.file_names)

    def to_coco(self, images: Iterable[int], image_id: int, annotation_id: int) -> dict[str, Any]:
        """A COCO table of the given images; ids count on from the two first ones."""
        image_rows: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, index in enumerate(images, start=image_id):
            image_rows.append(image_row(number, self.file_names[index], self.sizes_wh[index]))
            rows = slice(*self.ends[index : index + 2])
            columns = (self.labels[rows], self.boxes_xywh[rows], self.is_region[rows])
            for label, box, region in zip(*(each.tolist() for each in columns), strict=True):
                identity, area = annotation_id + len(annotations), round(box[2] * box[3], 6)
                row = object_row(identity, number, label, box, area, is_region=region)
                annotations.append(row)
        categories = category_rows(self.categories)
        return {"images": image_rows, "annotations": annotations, "categories": categories}


def join_chunks(chunks: Sequence[LabelChunk], categories: tuple[Category, ...]) -> LabelTable:
    """Put chunks one after the other, with class names as category ids.

    A region of every class becomes one of each, since a row of COCO has one class.
    """
    ids: dict[str | None, list[int]] = {each.name: [each.id] for each in categories}
    ids[None] = [category.id for category in categories]
    names = [name for chunk in chunks for name in chunk.class_names]
    copies = np.array([len(ids[name]) for name in names], np.int64)
    rows = np.repeat(np.arange(len(names)), copies)
    counts = [count for chunk in chunks for count in chunk.counts]
    ends = ends_of(copies)[ends_of(np.array(counts, np.int64))]
    boxes = np.concatenate([np.zeros((0, 4)), *(chunk.boxes_xywh for chunk in chunks)])
    regions = np.concatenate([np.zeros(0, np.bool_), *(chunk.is_region for chunk in chunks)])
    return LabelTable(
        file_names=[name for chunk in chunks for name in chunk.file_names],
        sequences=[sequence for chunk in chunks for sequence in chunk.sequences],
        sizes_wh=[size for chunk in chunks for size in chunk.sizes_wh],
        ends=ends,
        labels=np.array([id for name in names for id in ids[name]], np.int64),
        boxes_xywh=boxes[rows],
        is_region=regions[rows],
        categories=categories,
    )
