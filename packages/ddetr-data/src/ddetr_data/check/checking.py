"""One pass over labels and images that names every fault, and stops at none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ddetr_data.check._classes import check_categories
from ddetr_data.check._image_files import Listed, check_images
from ddetr_data.check._labels import (
    CheckedLabels,
    check_coco_file,
    check_kitti_folder,
    check_label_files,
    has_kitti_labels,
)
from ddetr_data.check._training import check_training
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog, CheckReport
from ddetr_data.coco import find_json_files
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import FROM_COCO, open_labels, refuse_urls
from ddetr_data.faults import DataError, Losses
from ddetr_data.loading import LabelContract, explain_losses
from ddetr_data.locations import is_folder, is_url
from ddetr_data.types import Annotations

TRAINED = "train"  # the split that is not scored, so that eval_class_ids does not limit it

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
    labels: dict[str, Sequence[CheckedLabels]] = {
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
    return replace(options, max_detections=None) if split == TRAINED else options


def _report(
    labels: Mapping[str, Sequence[CheckedLabels]],
    log: CheckLog,
    options: CheckOptions,
    on_progress: Callable[[int, int], None] | None,
) -> CheckReport:
    """Look at what the files of all splits have together, and at the images."""
    labels = check_categories(labels, log, options)
    check_training(labels, log, options)
    for found in labels.values():
        _check_image_ids(found, log)
    listed = [
        Listed(split, found, number)
        for split in labels
        for found in labels[split]
        for number in range(len(found.images))
    ]
    outside = check_images(listed, log, options, on_progress)
    for split, files in labels.items():
        _check_losses(split, files, outside.get(split, Annotations()), log, options)
    kept = sum(found.num_objects for files in labels.values() for found in files)
    return CheckReport(
        findings=log.findings(),
        images=len(listed),
        annotations=kept - sum(map(len, outside.values())),
    )


def _check_losses(
    split: str,
    files: Sequence[CheckedLabels],
    outside: Annotations,
    log: CheckLog,
    options: CheckOptions,
) -> None:
    """Note what loading would refuse because too many objects are dropped, or all."""
    wanted = None if split == TRAINED else options.eval_class_ids
    contract = LabelContract(max_dropped=options.max_dropped, wanted_ids=wanted)
    no_crowds = outside.labels[~outside.is_crowd].tolist()
    dropped = Losses(("outside_box", label) for label in no_crowds)
    lost = contract.lost(sum((file.losses for file in files), dropped))
    objects = sum((file.wanted for file in files), Counter[int]())
    objects.subtract(no_crowds)
    kept = sum(n for label, n in objects.items() if wanted is None or label in wanted)
    first = partial(log.first, files={file.file for file in files})
    if sentence := explain_losses(kept, lost, first, options.max_dropped):
        log.file = files[0].file
        log.refuse("most_dropped", sentence)


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
