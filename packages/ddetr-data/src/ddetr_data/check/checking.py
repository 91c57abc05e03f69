"""One pass over labels and images that names every fault, and stops at none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ddetr_data.categories import compare_categories
from ddetr_data.check._labels import (
    CheckedLabels,
    check_coco_file,
    check_kitti_folder,
    check_label_files,
    has_kitti_labels,
)
from ddetr_data.check.images import ImageInspector, ImageTask
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog, CheckReport
from ddetr_data.coco import check_ids_below, find_json_files
from ddetr_data.config import ConvertConfig, DataSource
from ddetr_data.convert import FROM_COCO, open_labels, refuse_urls
from ddetr_data.faults import DataError
from ddetr_data.images import ImageHeader, fit_objects
from ddetr_data.locations import RemoteFile, absolute, is_folder, is_url
from ddetr_data.parallel import map_in_chunks

_THREADS = 16  # at least, for images behind a URL

Splits = Mapping[str, Sequence[DataSource]]  # "train", "val", ... and their sources


def check_dataset(
    splits: Splits,
    options: CheckOptions | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Check every source of every split, by the rules that loading follows.

    A source whose json_file is a folder of KITTI labels (.txt, no .json) is checked as such.

    Args:
        splits: sources by the name of their split; images are compared between splits.
        on_progress: called with images looked at and images in all.
    """
    options = options or CheckOptions()
    log = CheckLog()
    labels = {
        split: [
            found
            for source in sources
            for found in _check_source(source, log, _options_of(split, options))
        ]
        for split, sources in splits.items()
    }
    return _report(labels, log, options, on_progress)


def check_conversion(
    config: ConvertConfig,
    options: CheckOptions | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Check what a conversion would read, by the rules that it follows; nothing is written.

    The images of COCO JSON are looked at where data_root names their folder.

    Raises:
        FileNotFoundError, DataError: what keeps `convert` from starting.
    """
    options, log = options or CheckOptions(), CheckLog()
    refuse_urls(config)
    if config.input_source is None:
        raise DataError("there is no input_source, the labels to read")
    if config.format in FROM_COCO:
        image_dir = config.data_root or os.curdir
        source = DataSource(image_dir=image_dir, json_file=(config.input_source,))
        options = replace(options, ignore_regions=config.ignore_regions)
        labels = _check_source(source, log, options)
        if config.data_root is None:
            labels = [replace(found, images=[]) for found in labels]
    else:
        opened = open_labels(config)
        labels = [check_label_files(opened, config.input_source, log, options)]
    return _report({"set": labels}, log, options, on_progress)


def _options_of(split: str, options: CheckOptions) -> CheckOptions:
    """Images to train on are not scored."""
    return replace(options, max_detections=None) if split == "train" else options


def _report(
    labels: Mapping[str, Sequence[CheckedLabels]],
    log: CheckLog,
    options: CheckOptions,
    on_progress: Callable[[int, int], None] | None,
) -> CheckReport:
    """Look at what the files of all splits have together, and at the images."""
    everything = [found for split in labels.values() for found in split]
    _check_categories(everything, log, options)
    for found in labels.values():
        _check_image_ids(found, log)
    listed = [
        _Listed(split, found, number)
        for split in labels
        for found in labels[split]
        for number in range(len(found.images))
    ]
    lost = _check_images(listed, log, options, on_progress)
    return CheckReport(
        findings=log.findings(),
        images=len(listed),
        annotations=sum(found.num_objects for found in everything) - lost,
    )


def _check_source(source: DataSource, log: CheckLog, options: CheckOptions) -> list[CheckedLabels]:
    log.file = source.image_dir
    try:
        if is_folder(source.image_dir):
            return _check_labels(source, log, options)
        log.refuse("missing_folder", f"image_dir {source.image_dir} is no folder")
    except DataError as error:
        log.refuse("missing_folder", str(error))
        return []
    # One folder that is missing is told once, not as so many missing images.
    return [replace(found, images=[]) for found in _check_labels(source, log, options)]


def _check_labels(source: DataSource, log: CheckLog, options: CheckOptions) -> list[CheckedLabels]:
    label_dir = Path(source.json_file[0])
    if len(source.json_file) == 1 and has_kitti_labels(label_dir):
        if is_url(source.image_dir):
            log.refuse("missing_folder", f"{source.image_dir}: KITTI folders must be local")
            return []
        folder = Path(source.image_dir)
        return [check_kitti_folder(label_dir, folder, log, options)]
    found = []
    for pattern in source.json_file:
        log.file = pattern
        try:
            paths = find_json_files((pattern,))
        except (DataError, OSError) as error:
            log.refuse("unusable_json", str(error))
            continue
        for path in paths:
            found.append(check_coco_file(path, source.image_dir, log, options))
    return found


def _check_categories(files: Sequence[CheckedLabels], log: CheckLog, options: CheckOptions) -> None:
    """Look at the first table, and at whether the others agree with it."""
    tables = [file for file in files if file.categories]
    if not tables:
        return
    first = tables[0]
    for other in tables[1:]:
        log.file = other.file
        difference = compare_categories(
            first.categories, other.categories, first_name=first.file, second_name=other.file
        )
        if difference:
            log.refuse("differing_categories", difference)
    log.file = first.file
    try:
        check_ids_below(first.categories, options.num_classes, first.file)
    except DataError as error:
        log.refuse("category_beyond_model", str(error))
    ids = [category.id for category in first.categories]
    if 0 in ids:
        log.add("category_id_zero", "id 0")
    gaps = sorted(set(range(1, max(ids))) - set(ids))
    log.add_rows("category_id_gaps", first.file, (f"id {number}" for number in gaps), len(gaps))
    objects = sum((file.objects for file in files), Counter[int]())
    unused = [category.name for category in first.categories if not objects[category.id]]
    log.add_rows("unused_category", first.file, iter(unused), len(unused))


def _check_image_ids(files: Sequence[CheckedLabels], log: CheckLog) -> None:
    """Note image ids that stand in several files of a split, and a split without any image."""
    told = ("unusable_json", "no_images")
    is_told = any(log.has(fault, file.file) for fault in told for file in files)
    if files and not is_told and not any(file.images or file.image_ids for file in files):
        log.file = files[0].file
        log.refuse("no_images", "no image is left to be used")
    owners: dict[int, str] = {}
    for file in files:
        clashing = [number for number in file.image_ids if number in owners]
        locations = (f"image id {number} is in {owners[number]} too" for number in clashing)
        log.add_rows("clashing_image_ids", file.file, locations, len(clashing))
        owners.update(dict.fromkeys(file.image_ids, file.file))


@dataclass(frozen=True, slots=True)
class _Listed:
    """An image of one split's labels."""

    split: str
    labels: CheckedLabels
    number: int

    @property
    def task(self) -> ImageTask:
        return self.labels.images[self.number]

    def count_outside(self, header: ImageHeader) -> int:
        """How many of its objects lie outside once boxes were moved to the image's actual size."""
        if self.labels.table is None:
            return 0
        _, _, inside = fit_objects(self.labels.table[self.number], header)
        return int((~inside).sum())


def _check_images(
    listed: Sequence[_Listed],
    log: CheckLog,
    options: CheckOptions,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    """Look into every image, and compare the images with each other.

    Returns:
        How many objects lie outside of their image as it is, and would be dropped.
    """
    lost = 0
    first: dict[object, _Listed] = {}
    tasks = [image.task for image in listed]
    # Many threads for what the network makes wait; memory:// is seen by this process alone.
    is_remote = any(isinstance(task.path, RemoteFile) for task in tasks)
    parts = map_in_chunks(
        ImageInspector(options.decode),
        tasks,
        options.images_a_chunk,
        max(_THREADS, options.workers) if is_remote else options.workers,
        "threads" if is_remote else "local",
        on_progress,
    )
    inspections = [inspection for part in parts for inspection in part]
    for image, inspection in zip(listed, inspections, strict=True):
        log.file, task = image.labels.file, image.task
        for fault, detail in inspection.faults:
            log.add(fault, detail)
        if inspection.unlike and (outside := image.count_outside(inspection.unlike)):
            log.add("outside_box", f"{task}: {outside} boxes", outside)
            lost += outside
        other = first.setdefault(inspection.digest or absolute(str(task.path)), image)
        if other.split != image.split:
            log.add("same_image_in_splits", f"{task} is {other.task} of {other.split}")
        elif absolute(str(other.task.path)) == absolute(str(task.path)) and other is not image:
            log.add("repeated_file", f"{task} is {other.task} too")
        elif other is not image:
            log.add("same_image", f"{task} is {other.task}")
    return lost
