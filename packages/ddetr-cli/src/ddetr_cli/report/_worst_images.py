"""The worst images as a section: what was found in each, and beside it what is there."""

from __future__ import annotations

from collections.abc import Iterator

from ddetr_cli.report._sections import Section, ShownImage, Thumbnail
from ddetr_cli.report.mistakes import NUM_WORST, BadImage, Mistakes
from ddetr_cli.report.thumbnails import RIGHT_COLOR, WRONG_COLOR, thumbnail
from ddetr_cli.running import sentence
from ddetr_data import ClassNames, DataError
from ddetr_data.coco import DetectionSet
from ddetr_data.images import DrawnBox, WhiteLevels

_WRONG_WIDTH, _RIGHT_WIDTH = 3, 1  # pixels; the colours alone would not do for every eye
_LEGEND = (
    (RIGHT_COLOR, "thin: found, as labelled"),
    (WRONG_COLOR, "thick, with its class: false, or missed"),
)


def worst_section(mistakes: Mistakes, detection_set: DetectionSet) -> Section:
    """Show each with its detections above the thresholds, and beside it the labels."""
    names = ClassNames(detection_set.categories)
    white = detection_set.largest.covering()
    rule = (
        f"At most {NUM_WORST}, by how many objects are missed, invented or taken for another "
        "class, at each class's threshold; of equal ones the lowest id first."
    )
    none = "No image has a mistake at these thresholds."
    return Section(
        "Worst images",
        note=rule if mistakes.worst else none,
        images=[_shown(image, names, white) for image in mistakes.worst],
        legend=_LEGEND,
    )


def _shown(image: BadImage, names: ClassNames, white: WhiteLevels) -> ShownImage:
    name = image.record.file_name
    told = f"{image.missed} missed, {image.invented} invented, {image.confused} confused"
    drawn = (("found", list(_found(image, names))), ("labelled", list(_labelled(image, names))))
    try:
        shown = [
            Thumbnail(what, thumbnail(image.record.path, boxes, white)) for what, boxes in drawn
        ]
    except (OSError, DataError) as error:
        return ShownImage(name, told, problem=sentence(error))
    return ShownImage(name, told, shown)


def _found(image: BadImage, names: ClassNames) -> Iterator[DrawnBox]:
    """Give the detections, right ones first, so that wrong ones lie on top."""
    found = image.found
    for index in sorted(range(len(found)), key=lambda at: not image.is_right[at]):
        is_right = bool(image.is_right[index])
        text = f"{names[int(found.labels[index])]} {found.scores[index]:.2f}"
        yield _box(found.boxes_xyxy[index].tolist(), text, is_right)


def _labelled(image: BadImage, names: ClassNames) -> Iterator[DrawnBox]:
    record = image.record
    objects = [index for index in range(len(record.labels)) if not record.is_crowd[index]]
    for index in sorted(objects, key=lambda at: not image.is_found[at]):
        left, top, width, height = record.boxes_xywh[index].tolist()
        box = (left, top, left + width, top + height)
        yield _box(box, names[int(record.labels[index])], bool(image.is_found[index]))


def _box(box_xyxy: tuple[float, ...] | list[float], text: str, is_right: bool) -> DrawnBox:
    """What is right has no text, which would hide what is wrong among many boxes."""
    if is_right:
        return DrawnBox(box_xyxy, RIGHT_COLOR, "", _RIGHT_WIDTH)
    return DrawnBox(box_xyxy, WRONG_COLOR, text, _WRONG_WIDTH)
