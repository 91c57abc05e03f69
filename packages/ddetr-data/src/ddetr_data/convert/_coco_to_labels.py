"""COCO JSON as KITTI or YOLO label files, one an image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from ddetr_data.categories import ClassNames
from ddetr_data.coco import DetectionSet, is_plain_name, load_sources
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert.shards import CLASSMAP_NAME
from ddetr_data.convert.summary import ConvertSummary
from ddetr_data.faults import RULES, DataError
from ddetr_data.files import write_whole
from ddetr_data.formats import (
    KittiObject,
    format_dont_care_line,
    format_kitti_line,
    format_yolo_line,
    label_names,
    number_categories,
    write_classmap,
)
from ddetr_data.loading import LabelContract, fit_to_headers
from ddetr_data.types import Category, ImageRecord

_LABELS_NAME = "labels"
_PROGRESS_IMAGES = 1000


def prepare_labels(
    config: ConvertConfig, *, on_progress: Callable[[int, int], None] | None = None
) -> Callable[[], ConvertSummary]:
    """Read a COCO set; what this gives writes labels/<file name>.txt an image, and classmap.txt.

    Where data_root names the images' folder, boxes are brought to the images as they are: those of
    an image that was resized, or described before its EXIF turn, follow it.

    Crowd boxes are left out and counted: neither format can hold them. Regions to ignore become
    KITTI's DontCare, of no class; YOLO has nothing for them either. YOLO's class numbers
    count from 0 in the order of the category ids, which is the order of classmap.txt; categories of
    one name are one class.

    Raises:
        FileNotFoundError: input_source (the JSON) or data_root (the images' folder) is missing.
        DataError: the JSON cannot be used, a file name leads out of the results, or, when strict,
            anything would be dropped.
    """
    source = DataSource(
        image_dir=config.data_root or os.curdir, json_file=(config.input_source or "",)
    )
    labelled = load_sources(
        [source],
        num_classes=None,
        ignore_regions=config.ignore_regions,
        match_classes=config.match_classes,
    )
    if config.data_root is not None:
        labelled = fit_to_headers(labelled)
    contract = LabelContract(max_dropped=config.max_dropped, name=source.json_file[0])
    contract.check_losses(labelled)
    dropped = _dropped(labelled, with_regions=config.format == "coco_to_yolo")
    if config.strict and dropped:
        listed = ", ".join(f"{sum(counts.values())} x {name}" for name, counts in dropped.items())
        raise DataError(f"strict: nothing may be dropped, but these would be: {listed}")
    relatives = [_relative(record, source.image_dir) for record in labelled.images]
    return partial(_write_labels, config, labelled, relatives, on_progress)


def _write_labels(
    config: ConvertConfig,
    labelled: DetectionSet,
    relatives: Sequence[PurePosixPath],
    on_progress: Callable[[int, int], None] | None,
) -> ConvertSummary:
    paths, counts = label_names(relatives), Counter(relatives)
    # Images that stand in the set under several ids have the text of all of them.
    repeated = {relative: "" for relative, count in counts.items() if count > 1}
    writer = _LabelWriter.of(labelled.categories, is_yolo=config.format == "coco_to_yolo")
    results_dir = Path(config.results_dir)
    kept: Counter[str] = Counter()
    for number, (record, relative) in enumerate(zip(labelled.images, relatives, strict=True), 1):
        text = repeated.get(relative, "") + writer.text_of(record)
        write_whole(results_dir / _LABELS_NAME / paths[relative], text, sync=False)
        if relative in repeated:
            repeated[relative] = text
        kept.update(writer.names[label] for label in record.labels[~record.is_crowd].tolist())
        if on_progress and (number % _PROGRESS_IMAGES == 0 or number == len(labelled.images)):
            on_progress(number, len(labelled.images))
    write_classmap(results_dir / CLASSMAP_NAME, number_categories(writer.numbers))
    return ConvertSummary(
        images=len(labelled.images),
        annotations=sum(kept.values()),
        categories=labelled.categories,
        kept={name: kept[name] for name in writer.numbers},
        dropped=_dropped(labelled, with_regions=writer.is_yolo),
        repaired=_counts(labelled, "repair"),
        accepted=_counts(labelled, "accept"),
        classmap=results_dir / CLASSMAP_NAME,
        label_dir=results_dir / _LABELS_NAME,
    )


@dataclass(frozen=True)
class _LabelWriter:
    """Turns records into the text of their label files."""

    names: dict[int, str]  # of the classes, by category id
    numbers: dict[str, int]  # YOLO's, from 0; categories of one name are one class
    is_yolo: bool

    @classmethod
    def of(cls, categories: Sequence[Category], *, is_yolo: bool) -> _LabelWriter:
        names = ClassNames(categories)
        distinct = dict.fromkeys(names.values())
        return cls(names, {name: number for number, name in enumerate(distinct)}, is_yolo)

    def text_of(self, record: ImageRecord) -> str:
        objects = record.annotations.keep(~record.is_crowd)
        columns = zip(objects.labels.tolist(), objects.boxes_xywh.tolist(), strict=True)
        kept = [(self.names[label], box) for label, box in columns]
        size_wh = (record.width, record.height)
        if self.is_yolo:
            lines = [format_yolo_line(self.numbers[name], box, size_wh) for name, box in kept]
        else:
            regions = record.boxes_xywh[record.is_region].tolist()
            lines = [_kitti_line(name, box) for name, box in kept]
            lines += dict.fromkeys(format_dont_care_line(_corners(box)) for box in regions)
        return "".join(f"{line}\n" for line in lines)


def _kitti_line(name: str, box_xywh: Sequence[float]) -> str:
    return format_kitti_line(KittiObject(name, _corners(box_xywh)))


def _corners(box_xywh: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, width, height = box_xywh
    return left, top, left + width, top + height


def _dropped(labelled: DetectionSet, *, with_regions: bool) -> dict[str, dict[str, int]]:
    """What loading dropped, the crowds, and the regions if wanted, by reason and class."""
    names = ClassNames(labelled.categories)
    found: dict[str, Counter[str]] = {"crowd": Counter(), "ignore_region": Counter()}
    for record in labelled.images:
        crowds = record.labels[record.is_crowd & ~record.is_region].tolist()
        found["crowd"].update(names[label] for label in crowds)
        if with_regions:
            regions = record.labels[record.is_region].tolist()
            found["ignore_region"].update(names[label] for label in regions)
    dropped = _counts(labelled, "drop")
    dropped |= {reason: dict(sorted(each.items())) for reason, each in found.items() if each}
    return dropped


def _counts(labelled: DetectionSet, action: str) -> dict[str, dict[str, int]]:
    return {
        fault: {"": count}
        for fault, count in labelled.faults.items()
        if RULES[fault].action == action
    }


def _relative(record: ImageRecord, image_dir: str) -> PurePosixPath:
    """The image's path below the images' folder, spelt as on the disk where it is there."""
    checked, path = _checked(record.file_name), record.path
    if is_plain_name(record.file_name) or not isinstance(path, Path) or not path.exists():
        return checked
    return PurePosixPath(path.relative_to(image_dir).as_posix())


def _checked(file_name: str) -> PurePosixPath:
    """The image's path with forward slashes, refused when it would lead out of the results."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise DataError(
            f"file_name {file_name!r} must be a path below the images' folder, "
            "its label file would lie outside results_dir"
        )
    return path
