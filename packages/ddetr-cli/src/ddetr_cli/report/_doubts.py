"""Labels that a detector doubts, as sections of a report: counts, and a crop of each sure one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ddetr_cli.report._sections import Section, ShownImage, Table
from ddetr_cli.report.thumbnails import thumbnail
from ddetr_data import Category, DataError, Detections, ImageRecord
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import DoubtedLabel, LabelNoise

_SHOWN = 24  # of each kind; the files list all
_MARGIN = 0.75  # around the boxes, in parts of their extent
_LEAST_MARGIN = 8  # pixels
_TITLES = {
    "missing": "Likely missing: found surely, and not labelled",
    "class": "Likely of another class",
    "box": "Likely a wrong or loose box",
    "spurious": "Likely no object: nothing is found there",
    "doubled": "Likely labelled twice",
}


@dataclass(frozen=True, eq=False)
class _Doubted:
    """An image with the label in doubt, and what is suggested instead."""

    record: ImageRecord
    found: Detections


def doubt_sections(noise: LabelNoise) -> list[Section]:
    """How many there are, then a section for each kind that there is, the surest first."""
    rows = [[kind, str(count)] for kind, count in noise.counts.items()]
    sections = [
        Section(
            "Doubted labels",
            note="A suggestion, no verdict: look at each. label_noise.json and label_noise.csv "
            "list all of them, the surest first.",
            table=Table(["kind", "count"], rows),
        )
    ]
    for kind, title in _TITLES.items():
        mine = [each for each in noise.doubted if each.doubt.kind == kind]
        if mine:
            images = [_shown(each, noise.sets[each.split]) for each in mine[:_SHOWN]]
            note = f"the {len(images)} surest of {len(mine)}"
            sections.append(Section(title, images=images, images_note=note))
    return sections


def _shown(doubted: DoubtedLabel, labelled: DetectionSet) -> ShownImage:
    drawn = _drawn(doubted)
    row, doubt = doubted.row, doubted.doubt
    names = {each.id: each.name for each in labelled.categories}
    parts = [f"score {doubt.score:.2f}"]
    if doubt.object_index is not None:
        label = int(doubted.record.labels[doubt.object_index])
        parts.append(f"labelled {names.get(label, label)}")
    if doubt.suggested_label is not None:
        parts.append(f"found {names.get(doubt.suggested_label, doubt.suggested_label)}")
    if row is not None:
        parts.append(f"{row.file}, image {row.image_id}")
        if row.annotation_id is not None:
            parts.append(f"annotation {row.annotation_id}")
    text, name = ", ".join(parts), doubted.record.file_name
    categories = tuple(Category(id, name) for id, name in names.items())
    try:
        address = thumbnail(drawn, categories, labelled.largest.covering(), _region(drawn))
        return ShownImage(name, text, address)
    except (OSError, DataError) as error:
        return ShownImage(name, text, problem=str(error))


def _drawn(doubted: DoubtedLabel) -> _Doubted:
    """Keep the label in doubt, its twin, and the suggestion as a detection."""
    doubt, record = doubted.doubt, doubted.record
    rows = [each for each in (doubt.object_index, doubt.twin_index) if each is not None]
    kept = replace(record, annotations=record.annotations.keep(np.array(rows, np.int64)))
    if doubt.suggested_label is None:
        return _Doubted(kept, Detections.empty())
    box = doubt.suggested_xyxy
    if box is None:  # the label's own, of another class
        left, top, width, height = kept.boxes_xywh[0].tolist()
        box = (left, top, left + width, top + height)
    found = Detections(
        np.array([box], np.float32),
        np.array([doubt.score], np.float32),
        np.array([doubt.suggested_label], np.int64),
    )
    return _Doubted(kept, found)


def _region(drawn: _Doubted) -> tuple[float, float, float, float]:
    """What is shown around the boxes."""
    corners = drawn.record.boxes_xywh.copy()
    corners[:, 2:] += corners[:, :2]
    boxes = np.concatenate([corners, drawn.found.boxes_xyxy])
    first, last = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    margin = np.maximum(_MARGIN * (last - first), _LEAST_MARGIN)
    (left, top), (right, bottom) = (first - margin).tolist(), (last + margin).tolist()
    return left, top, right, bottom
