"""Looking through labelled sets with a detector, and the list of what it doubts as files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddetr_data.categories import ClassNames
from ddetr_data.coco import DetectionSet
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.detection._label_rows import LabelRow, LabelRows
from ddetr_data.detection._scored_labels import open_scored
from ddetr_data.detection.detector import Detector, fill_in_white, setup_notices
from ddetr_data.detection.evaluation import add_detections
from ddetr_data.detection.events import Observer, Progress, RunEvent, emit
from ddetr_data.detection.label_noise import KINDS, LabelDoubt, LabelSearch
from ddetr_data.files import write_all
from ddetr_data.safe_text import table_cell
from ddetr_data.types import ImageRecord

NOISE_NAME = "label_noise"  # of the files, before .json and .csv
# Below it a detection counts for nothing: detectors give some everywhere.
LEAST_SCORE = 0.01
_TABLE = (
    "kind", "score", "split", "file", "image", "image_id", "annotation_id", "twin_id", "class",
    "suggested_class",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DoubtedLabel:
    """A doubt, its image, and where it stands."""

    split: str
    doubt: LabelDoubt
    record: ImageRecord
    row: LabelRow | None  # of the object, of a missing one the image's
    twin: LabelRow | None = None

    def to_dict(self, names: ClassNames) -> dict[str, Any]:
        """Plain values, for JSON; boxes are left, top, width and height in pixels."""
        index, doubt = self.doubt.object_index, self.doubt
        box = None if index is None else self.record.boxes_xywh[index].tolist()
        label = None if index is None else int(self.record.labels[index])
        return {
            "kind": doubt.kind,
            "score": round(doubt.score, 4),
            "split": self.split,
            "file": None if self.row is None else self.row.file,
            "image": self.record.file_name,
            "image_id": None if self.row is None else self.row.image_id,
            "annotation_id": None if self.row is None else self.row.annotation_id,
            "twin_id": None if self.twin is None else self.twin.annotation_id,
            "class": None if label is None else names[label],
            "bbox": None if box is None else [round(side, 2) for side in box],
            "suggested_class": _name_of(doubt.suggested_label, names),
            "suggested_bbox": _bbox_of(doubt.suggested_xyxy),
        }


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """All doubts, the surest first, and what they come from."""

    doubted: tuple[DoubtedLabel, ...]
    sets: Mapping[str, DetectionSet]  # by split
    names: ClassNames
    confident_scores: Mapping[str, Mapping[str, float]]  # by split and class

    @property
    def counts(self) -> dict[str, int]:
        """How many doubts of each kind there are."""
        counts = Counter(each.doubt.kind for each in self.doubted)
        return {kind: counts[kind] for kind in KINDS}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        sets = self.sets.values()
        return {
            "images": sum(len(each.images) for each in sets),
            "objects": sum(int(each.object_counts.sum()) for each in sets),
            "counts": self.counts,
            "confident_scores": self.confident_scores,
            "findings": [each.to_dict(self.names) for each in self.doubted],
        }


def find_label_noise(
    detector: Detector,
    splits: Mapping[str, Sequence[DataSource]],
    dataset: DatasetConfig,
    *,
    observers: Sequence[Observer] = (),
) -> LabelNoise:
    """Run a detector over labelled sets, and list the labels that it doubts.

    Each split has thresholds of its own, so that those that were trained on do not decide for
    others. Nothing is written.

    Args:
        detector: whose classes the labels have.
        splits: sources by the name of their split.
        dataset: how labels are read; its own sources are not looked at.
        observers: called with notices and progress.

    Raises:
        FileNotFoundError, ValueError: as evaluate.
    """
    fill_in_white(detector, dataset)
    for text in setup_notices(detector, dataset):
        emit(observers, RunEvent("notice", text))
    sets = {
        split: _opened(detector, sources, dataset, observers)
        for split, sources in splits.items()
        if sources
    }
    by_id = {each.id: each for labelled in sets.values() for each in labelled.categories}
    names = ClassNames(tuple({**by_id, **{each.id: each for each in detector.categories}}.values()))
    doubted: list[DoubtedLabel] = []
    confident: dict[str, dict[str, float]] = {}
    for split, labelled in sets.items():
        search = LabelSearch({record.id: record for record in labelled.images})
        progress = Progress(observers, f"looking for label noise in {split}")
        add_detections(
            search,
            detector,
            labelled.images,
            LEAST_SCORE,
            on_progress=progress,
            workers=dataset.workers,
        )
        scores = search.confident_scores()
        confident[split] = {names[label]: round(score, 4) for label, score in scores.items()}
        doubted += _located(split, search, splits[split])
    doubted.sort(key=lambda each: -each.doubt.score)
    return LabelNoise(tuple(doubted), sets, names, confident)


def write_label_noise(
    folder: str | os.PathLike[str], noise: LabelNoise, facts: Mapping[str, Any]
) -> Path:
    """Write label_noise.json, which begins with the facts, and label_noise.csv; gives the first."""
    path = Path(folder, f"{NOISE_NAME}.json")
    content = {**facts, **noise.to_dict()}
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(_TABLE)
    for finding in content["findings"]:
        cells = ("" if finding[key] is None else finding[key] for key in _TABLE)
        rows.writerow(table_cell(each) if isinstance(each, str) else each for each in cells)
    csv_text = table.getvalue().encode("utf-8", "surrogateescape")
    write_all({path.with_suffix(".csv"): csv_text, path: json.dumps(content, indent=1)})
    return path


def _opened(
    detector: Detector,
    sources: Sequence[DataSource],
    dataset: DatasetConfig,
    observers: Sequence[Observer],
) -> DetectionSet:
    """Read labels and compare their classes with the detector's, as scoring does."""
    labelled, differences = open_scored(detector, sources, dataset)
    for text in differences:
        emit(observers, RunEvent("notice", text))
    return labelled


def _located(split: str, search: LabelSearch, sources: Sequence[DataSource]) -> list[DoubtedLabel]:
    doubts = search.doubts()
    records = {doubt.image_id: search.images[doubt.image_id] for doubt in doubts}
    rows = LabelRows(sources, records.values())

    def row(record: ImageRecord, index: int | None) -> LabelRow | None:
        return rows.of_image(record) if index is None else rows.of_object(record, index)

    found = []
    for doubt in doubts:
        record = records[doubt.image_id]
        twin = None if doubt.twin_index is None else row(record, doubt.twin_index)
        found.append(DoubtedLabel(split, doubt, record, row(record, doubt.object_index), twin))
    return found


def _name_of(label: int | None, names: ClassNames) -> str | None:
    return None if label is None else names[label]


def _bbox_of(corners: tuple[float, float, float, float] | None) -> list[float] | None:
    if corners is None:
        return None
    left, top, right, bottom = corners
    return [round(side, 2) for side in (left, top, right - left, bottom - top)]
