"""Check the labels of one COCO file or KITTI folder with the readers that loading uses.

I images, N objects of all images together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ddetr_data.check.images import ImageTask
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog
from ddetr_data.coco import CocoFile, ImageTable, read_coco_file
from ddetr_data.convert import (
    ChunkReader,
    LabelSource,
    SequenceFolder,
    Tally,
    list_files,
    too_little_left,
)
from ddetr_data.faults import DataError, Losses
from ddetr_data.files import LONGEST_NAME
from ddetr_data.formats import DEFAULT_MAPPING, ClassMapping, read_kitti_rows
from ddetr_data.locations import AnyFile
from ddetr_data.parallel import map_in_chunks
from ddetr_data.types import Category


@dataclass(frozen=True)
class CheckedLabels:
    """What a file's usable labels are, for the checks that look at several files."""

    file: str
    categories: tuple[Category, ...] = ()
    images: list[ImageTask] = field(default_factory=list)
    table: ImageTable | None = None  # the same images with their objects, where sizes are stated
    image_ids: list[int] = field(default_factory=list)
    num_objects: int = 0
    losses: Losses = field(default_factory=Losses)  # objects that are dropped

    @property
    def objects(self) -> Counter[int]:
        """Objects by category id."""
        return Counter(() if self.table is None else self.table.columns.labels.tolist())

    @property
    def wanted(self) -> Counter[int]:
        """The same without crowds, which are no objects to find."""
        if self.table is None:
            return Counter()
        columns = self.table.columns
        return Counter(columns.labels[~columns.is_crowd].tolist())


def check_coco_file(
    path: AnyFile, image_dir: str, log: CheckLog, options: CheckOptions
) -> CheckedLabels:
    """Read a COCO file as loading does, noting in the log what loading would mend or refuse."""
    log.file = str(path)
    try:
        file = read_coco_file(path, image_dir, log, ignore_regions=options.ignore_regions)
    except (DataError, OSError) as error:
        log.refuse("unusable_json", str(error))
        return CheckedLabels(str(path))
    columns = file.columns
    _note_objects(file, log, options)
    tasks, unusable = [], []
    table = ImageTable(columns, [image_dir])
    for record in table:
        _note_name(record.file_name, log)
        if record.id < 0:
            unusable.append(record.file_name)
        identity = record.id if record.id >= 0 else None
        tasks.append(ImageTask(record.path, (record.width, record.height), identity))
    log.add_rows("unusable_image_id", str(path), iter(unusable), len(unusable))
    return CheckedLabels(
        file=str(path),
        categories=file.categories,
        images=tasks,
        table=table,
        image_ids=columns.ids[columns.ids >= 0].tolist(),
        num_objects=len(columns.labels),
        losses=file.losses,
    )


def has_kitti_labels(folder: Path) -> bool:
    """Whether a folder holds label texts and no JSON."""
    if not os.path.isdir(folder) or any(path.is_file() for path in folder.glob("*.json*")):
        return False
    return any(path.is_file() for path in folder.rglob("*.txt"))


def check_kitti_folder(
    label_dir: Path, image_dir: Path, log: CheckLog, options: CheckOptions
) -> CheckedLabels:
    """Read the labels of a folder's images as `convert` does, noting what it would drop."""
    sequence = SequenceFolder(image_dir, image_dir, label_dir)
    files = list(list_files([sequence], image_dir, image_extension=None, label_extension=".txt"))
    reader = ChunkReader(read_kitti_rows, options.mapping, "skip", options.ignore_regions)
    source = LabelSource([sequence], image_dir, files, ".txt", reader, ())
    return check_label_files(source, str(label_dir), log, options)


def check_label_files(
    source: LabelSource, name: str, log: CheckLog, options: CheckOptions
) -> CheckedLabels:
    """Read label files of any format, noting under the name what `convert` would drop."""
    log.file = name
    reader = source.reader
    if reader.missing_labels == "error":  # which would stop at the first
        reader = replace(reader, missing_labels="skip")
    files = source.files
    tally, empty, num_images, num_objects = Tally(), [], 0, 0
    for chunk in map_in_chunks(reader, files, options.labels_a_chunk, options.workers):
        tally.add(chunk.tally)
        counted = zip(chunk.file_names, chunk.counts, strict=True)
        empty += [file_name for file_name, count in counted if not count]
        num_objects += len(chunk.class_names)
        num_images += len(chunk.file_names)
    for label in source.unused_labels():
        tally.count(str(label), "label_without_image")
    _note_tally(tally, log)
    if refusal := too_little_left(tally, num_images, options.max_dropped):
        log.refuse("most_dropped", refusal)
    if reader.mapping is None and reader.read_rows is read_kitti_rows:
        _note_unlisted(tally.kept, log)
    log.add_rows("image_without_objects", name, iter(empty), len(empty))
    for file in files:
        _note_name(file.file_name, log)
    return CheckedLabels(
        file=name, images=[ImageTask(file.image) for file in files], num_objects=num_objects
    )


def _note_unlisted(classes: Counter[str], log: CheckLog) -> None:
    """The classes that `convert` needs a mapping for."""
    default = ClassMapping(DEFAULT_MAPPING)
    for name, count in sorted(classes.items()):
        if default.target(name) is None:
            log.add("unlisted_class", f"class {name}: {count}", count)


def _note_objects(file: CocoFile, log: CheckLog, options: CheckOptions) -> None:
    """Crowds, images without objects, and images with more than a model can find."""
    columns = file.columns
    counts = np.diff(columns.object_ends)
    owners = np.repeat(np.arange(len(counts)), counts)
    findable = np.bincount(owners[~columns.is_crowd], minlength=len(counts))

    def note(fault: str, images: Sequence[int], counts: NDArray[np.int64] = counts) -> None:
        locations = (f"image {columns.ids[index]}: {counts[index]} objects" for index in images)
        log.add_rows(fault, str(file.path), locations, len(images))

    if len(columns.ids) and not len(columns.labels):
        log.add("no_objects", f"{len(columns.ids)} images", 1)
    else:
        note("image_without_objects", np.flatnonzero(counts == 0).tolist())
    limits = {
        "more_objects_than_queries": options.num_queries,
        "more_objects_than_detections": options.max_detections,
    }
    for fault, limit in limits.items():
        if limit is not None:
            note(fault, np.flatnonzero(findable > limit).tolist(), findable)
    in_crowds = owners[columns.is_crowd & ~columns.is_region]
    crowds = (f"image {columns.ids[index]}" for index in in_crowds.tolist())
    log.add_rows("crowd", str(file.path), crowds, len(in_crowds))


def _note_name(file_name: str, log: CheckLog) -> None:
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        log.add("outside_file_name", file_name)
    if any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in path.parts):
        log.add("long_file_name", file_name)
    if not file_name.isascii() or "\\" in file_name or any(map(str.isspace, file_name)):
        log.add("odd_file_name", file_name)


def _note_tally(tally: Tally, log: CheckLog) -> None:
    """Bring a conversion's counts into the log; unreadable images are left to their own check."""
    for fault in tally.faults:
        if fault.reason != "unreadable_image":
            name = f" ({fault.class_name})" if fault.class_name else ""
            log.add(fault.reason, f"{fault.where}{name}")
    for (reason, name), count in sorted(tally.dropped.items()):
        if reason in ("unmapped_class", "dont_care"):
            log.add(reason, f"class {name}: {count}", count)
    for (reason, name), count in sorted(tally.accepted.items()):
        if reason != "repeated_box":  # which is among the faults, with its lines
            log.add(reason, f"class {name}: {count}", count)
