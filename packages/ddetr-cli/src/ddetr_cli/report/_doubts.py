"""Labels that a detector doubts, as sections of a report: counts, and a crop of each sure one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddetr_cli.report._sections import Section, ShownImage, Table, Thumbnail
from ddetr_cli.report.thumbnails import RIGHT_COLOR, WRONG_COLOR, thumbnail
from ddetr_cli.running import sentence
from ddetr_data import ClassNames, DataError, Detections
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import DoubtedLabel, LabelNoise
from ddetr_data.images import DrawnBox

_SHOWN = 24  # of each kind; the files list all
_MARGIN = 0.75  # around the boxes, in parts of their extent
_LEAST_MARGIN = 8  # pixels
_LEGEND = ((RIGHT_COLOR, "labels"), (WRONG_COLOR, "detections"))
_TITLES = {
    "missing": "Likely missing: found surely, and not labelled",
    "class": "Likely of another class",
    "box": "Likely a wrong or loose box",
    "spurious": "Likely no object: nothing is found there",
    "doubled": "Likely labelled twice",
}


@dataclass(frozen=True, eq=False)
class _Doubted:
    """Boxes of the label in doubt and of its twin, and what is suggested instead."""

    objects_xyxy: NDArray[np.float64]  # (N, 4), pixels
    found: Detections

    def boxes(self, names: ClassNames) -> list[DrawnBox]:
        """Give what is drawn."""
        drawn = [DrawnBox(box, RIGHT_COLOR, "", 2) for box in self.objects_xyxy.tolist()]
        for box, score, label in zip(*_columns(self.found), strict=True):
            drawn.append(DrawnBox(box, WRONG_COLOR, f"{names[label]} {score:.2f}", 1))
        return drawn


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
            note = f"The {len(images)} surest of {len(mine)}."
            sections.append(Section(title, note=note, images=images, legend=_LEGEND))
    return sections


def _shown(doubted: DoubtedLabel, labelled: DetectionSet) -> ShownImage:
    drawn = _drawn(doubted)
    row, doubt = doubted.row, doubted.doubt
    names = ClassNames(labelled.categories)
    parts = [f"score {doubt.score:.2f}"]
    if doubt.object_index is not None:
        label = int(doubted.record.labels[doubt.object_index])
        parts.append(f"labelled {names[label]}")
    if doubt.suggested_label is not None:
        parts.append(f"found {names[doubt.suggested_label]}")
    if row is not None:
        parts.append(f"{row.file}, image {row.image_id}")
        if row.annotation_id is not None:
            parts.append(f"annotation {row.annotation_id}")
    text, name = ", ".join(parts), doubted.record.file_name
    white = labelled.largest.covering()
    try:
        address = thumbnail(doubted.record.path, drawn.boxes(names), white, _region(drawn))
        return ShownImage(name, text, [Thumbnail("", address)])
    except (OSError, DataError) as error:
        return ShownImage(name, text, problem=sentence(error))


def _drawn(doubted: DoubtedLabel) -> _Doubted:
    """Keep the label in doubt, its twin, and the suggestion as a detection."""
    doubt, record = doubted.doubt, doubted.record
    rows = [each for each in (doubt.object_index, doubt.twin_index) if each is not None]
    kept = record.boxes_xywh[rows].reshape(-1, 4)
    kept[:, 2:] += kept[:, :2]
    if doubt.suggested_label is None:
        return _Doubted(kept, Detections.empty())
    box = doubt.suggested_xyxy
    if box is None:  # the label's own, of another class
        box = tuple(kept[0].tolist())
    found = Detections(
        np.array([box], np.float32),
        np.array([doubt.score], np.float32),
        np.array([doubt.suggested_label], np.int64),
    )
    return _Doubted(kept, found)


def _columns(found: Detections) -> tuple[list[list[float]], list[float], list[int]]:
    return found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist()


def _region(drawn: _Doubted) -> tuple[float, float, float, float]:
    """What is shown around the boxes."""
    boxes = np.concatenate([drawn.objects_xyxy, drawn.found.boxes_xyxy])
    first, last = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    margin = np.maximum(_MARGIN * (last - first), _LEAST_MARGIN)
    (left, top), (right, bottom) = (first - margin).tolist(), (last + margin).tolist()
    return left, top, right, bottom
