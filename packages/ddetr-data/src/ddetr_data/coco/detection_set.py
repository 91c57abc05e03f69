"""Labelled images from COCO sources, brought to one numbering and one category table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco.class_match import agreeing_files
from ddetr_data.coco.file import CocoFile, read_coco_file
from ddetr_data.coco.image_table import ImageColumns, ImageTable
from ddetr_data.coco.json_files import find_json_files
from ddetr_data.coco.rows import category_rows, image_row, object_row
from ddetr_data.config import ClassMatch, DataSource
from ddetr_data.faults import DataError, FaultLog, Losses
from ddetr_data.images import WhiteLevels
from ddetr_data.locations import is_folder
from ddetr_data.types import Annotations, Category, ImageRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DetectionSet:
    """Images with their objects, the classes, and what had to be mended or left out."""

    images: Sequence[ImageRecord]
    categories: tuple[Category, ...]
    faults: FaultLog
    # The largest values of images of more than 8 bits, once the images were looked at.
    largest: WhiteLevels = field(default_factory=WhiteLevels)
    losses: Losses = field(default_factory=Losses)  # objects that were dropped

    @property
    def num_classes(self) -> int:
        """The largest category id + 1, since a category's id is its class index."""
        return max(category.id for category in self.categories) + 1

    @property
    def sizes_wh(self) -> NDArray[np.int32]:
        """(I, 2), width then height of every image in pixels."""
        if isinstance(self.images, ImageTable):
            return self.images.columns.sizes_wh
        sizes = [(record.width, record.height) for record in self.images]
        return np.array(sizes, np.int32).reshape(-1, 2)

    @property
    def object_counts(self) -> NDArray[np.int64]:
        """(I,), the objects of every image, without crowds and regions."""
        if isinstance(self.images, ImageTable):
            ends = self.images.columns.object_ends
            before = np.concatenate([[0], np.cumsum(~self.images.columns.is_crowd)])
            return np.diff(before[ends])
        return np.array([(~record.is_crowd).sum() for record in self.images], np.int64)

    @property
    def image_classes(self) -> NDArray[np.int64]:
        """(P, 2), index of an image and category id that it has objects of, each pair once.

        Crowds and regions are left out.
        """
        owners, labels = self._owners_and_labels()
        pairs = np.unique(owners * self.num_classes + labels)
        return np.stack(np.divmod(pairs, self.num_classes), axis=1)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """(num_classes,), the objects of every category id, without crowds and regions."""
        return np.bincount(self._owners_and_labels()[1], minlength=self.num_classes)

    @property
    def objects(self) -> Annotations:
        """The N objects of all images, one image after the other, crowds and regions too."""
        if isinstance(self.images, ImageTable):
            return self.images.columns.objects
        return Annotations.join(record.annotations for record in self.images)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(N,), the index of each object's image."""
        if isinstance(self.images, ImageTable):
            return self.images.columns.owners
        counts = [len(record.annotations) for record in self.images]
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def source_numbers(self) -> NDArray[np.int32]:
        """(I,), which of the sources every image came from."""
        if isinstance(self.images, ImageTable):
            return self.images.columns.sources
        return np.array([record.source for record in self.images], np.int32)

    def _owners_and_labels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Image index and category id of all objects but crowds and regions, (N,) each."""
        objects = self.objects
        is_object = ~objects.is_crowd
        return self.owners[is_object], objects.labels[is_object]

    def to_coco(self) -> dict[str, Any]:
        """Give the set as one COCO ground truth; annotation ids count from 1."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for record in self.images:
            images.append(image_row(record.id, record.file_name, (record.width, record.height)))
            boxes = (record.labels, record.boxes_xywh, record.area)
            columns = (*boxes, record.is_crowd, record.is_region)
            for row in zip(*(column.tolist() for column in columns), strict=True):
                annotations.append(object_row(len(annotations) + 1, record.id, *row))
        categories = category_rows(self.categories)
        return {"images": images, "annotations": annotations, "categories": categories}


def load_sources(
    sources: Sequence[DataSource],
    *,
    num_classes: int | None,
    corrupt_images: Literal["error", "skip"] = "error",
    ignore_regions: bool = False,
    match_classes: ClassMatch = "id",
) -> DetectionSet:
    """Read all files of all sources as one set.

    Image ids stay as they are when no two images have the same; otherwise all are numbered from 1.
    The set has the classes of all files, of which each may lack some.

    Args:
        sources: at least one.
        num_classes: every category id must be below it; None does not check.
        corrupt_images: what to do about an image without a size in the JSON that cannot be read.
        ignore_regions: objects that are marked `ignore` are regions, and no objects.
        match_classes: id refuses files of which one gives an id another name, or a name another
            id; name maps the ids of further files by name onto those of the first.

    Raises:
        DataError: a fault that no rule mends (see ddetr_data.faults.RULES); the text names the
            file and the row.
        FileNotFoundError: a json_file or an image folder is missing.
    """
    if not sources:
        raise DataError("at least one data source is needed, got none")
    faults = FaultLog()
    files = [
        file
        for number, source in enumerate(sources)
        for file in _read_source(
            number,
            source,
            faults,
            skip_unreadable=corrupt_images == "skip",
            ignore_regions=ignore_regions,
        )
    ]
    files, categories = agreeing_files(files, match_classes, faults)
    check_ids_below(categories, num_classes, str(files[0].path))
    columns = _numbered(ImageColumns.join([file.columns for file in files]), files, faults)
    if not len(columns.ids):
        raise DataError(f"{files[0].path} holds no usable image: {'; '.join(faults.sentences())}")
    table = ImageTable(columns, [source.image_dir for source in sources])
    losses = sum((file.losses for file in files), Losses())
    loaded = DetectionSet(table, categories, faults, losses=losses)
    tell_faults(loaded)
    return loaded


def tell_faults(detection_set: DetectionSet) -> None:
    """Log what was mended or left out, and that there is no object at all."""
    for sentence in detection_set.faults.sentences():
        logger.warning("labels: %s", sentence)
    if not any(len(record.labels) for record in detection_set.images):
        logger.warning("labels: none of the %d images has an object", len(detection_set.images))


def check_ids_below(categories: Sequence[Category], num_classes: int | None, where: str) -> None:
    """Refuse category ids that are no class index of a model of num_classes classes.

    Raises:
        DataError: the text names the id and the num_classes that would do.
    """
    largest = max(categories, key=lambda category: category.id)
    if num_classes is not None and largest.id >= num_classes:
        raise DataError(
            f"{where}: category {largest.name!r} has id {largest.id}, which needs num_classes of "
            f"at least {largest.id + 1}, got {num_classes}"
        )


def _read_source(
    number: int, source: DataSource, faults: FaultLog, **rules: bool
) -> list[CocoFile]:
    if not is_folder(source.image_dir):
        raise FileNotFoundError(f"image_dir must be a folder, {source.image_dir} is not there")
    return [
        read_coco_file(path, source.image_dir, faults, source=number, **rules)
        for path in find_json_files(source.json_file)
    ]


def _numbered(columns: ImageColumns, files: Sequence[CocoFile], faults: FaultLog) -> ImageColumns:
    """Number the images from 1 when an id cannot be kept or stands for two of them."""
    unusable = int((columns.ids < 0).sum())
    if unusable:
        faults.add("unusable_image_id", "image ids", unusable)
    elif len(np.unique(columns.ids)) < len(columns.ids):
        faults.add("clashing_image_ids", f"{files[0].path} and {files[1].path}")
    else:
        return columns
    return replace(columns, ids=np.arange(1, len(columns.ids) + 1))
