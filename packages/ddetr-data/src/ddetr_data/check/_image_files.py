"""The image files of all labels: can they be used, are they of the size stated, are they new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddetr_data.check._labels import CheckedLabels
from ddetr_data.check.images import ImageInspector, ImageTask, Inspection
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog
from ddetr_data.coco import ImageColumns
from ddetr_data.images import UNTRUE_SIZE, ImageHeader, find_placeholders, fit_objects
from ddetr_data.locations import RemoteFile, absolute
from ddetr_data.parallel import map_in_chunks
from ddetr_data.types import Annotations

_THREADS = 16  # at least, for images behind a URL


@dataclass(frozen=True, slots=True)
class Listed:
    """An image of one split's labels."""

    split: str
    labels: CheckedLabels
    number: int

    @property
    def task(self) -> ImageTask:
        return self.labels.images[self.number]

    def outside(self, header: ImageHeader, *, is_believed: bool) -> Annotations:
        """Its objects that lie outside once boxes are brought to the image's actual size."""
        if self.labels.table is None:
            return Annotations()
        record = self.labels.table[self.number]
        _, objects, inside = fit_objects(record, header, is_believed=is_believed)
        return objects.keep(~inside)


def check_images(
    listed: Sequence[Listed],
    log: CheckLog,
    options: CheckOptions,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, Annotations]:
    """Look into every image, and compare the images with each other.

    Returns:
        For each split the objects that lie outside of their image as it is, and are dropped.
    """
    lost: dict[str, list[Annotations]] = {}
    first: dict[object, Listed] = {}
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
    placeholders = _find_placeholders(listed, inspections)
    for number, (image, inspection) in enumerate(zip(listed, inspections, strict=True)):
        log.file, task = image.labels.file, image.task
        is_believed = number not in placeholders
        for fault, detail in inspection.faults:
            is_untrue = fault == "resized_image" and not is_believed
            log.add(UNTRUE_SIZE if is_untrue else fault, detail)
        if inspection.unlike is not None:
            outside = image.outside(inspection.unlike, is_believed=is_believed)
            if len(outside):
                log.add("outside_box", f"{task}: {len(outside)} boxes", len(outside))
                lost.setdefault(image.split, []).append(outside)
        other = first.setdefault(inspection.digest or absolute(str(task.path)), image)
        if other.split != image.split:
            log.add("same_image_in_splits", f"{task} is {other.task} of {other.split}")
        elif absolute(str(other.task.path)) == absolute(str(task.path)) and other is not image:
            log.add("repeated_file", f"{task} is {other.task} too")
        elif other is not image:
            log.add("same_image", f"{task} is {other.task}")
    return {split: Annotations.join(parts) for split, parts in lost.items()}


def _find_placeholders(listed: Sequence[Listed], inspections: Sequence[Inspection]) -> set[int]:
    """Images whose stated size is not believed, though it might be that of before a resize."""
    found: set[int] = set()
    for split in dict.fromkeys(image.split for image in listed):
        numbers = [
            number
            for number, image in enumerate(listed)
            if image.split == split and image.labels.table is not None
        ]
        tables = {id(listed[number].labels): listed[number].labels.table for number in numbers}
        columns = [table.columns for table in tables.values() if table is not None]
        headers = {
            position: header
            for position, number in enumerate(numbers)
            if (header := inspections[number].unlike) is not None
        }
        if headers:
            joined = ImageColumns.join(columns)
            untrue = find_placeholders(joined.sizes_wh, headers, joined.boxes_xywh, joined.owners)
            found.update(numbers[position] for position in untrue)
    return found
