"""Evaluation of any detector: batches, thresholds, progress and the files that remain."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource
from ddetr_data.detection import evaluate_detector, write_results
from ddetr_data.types import Category, Detections

Write = Callable[..., DataSource]


class Oracle:
    """Knows the labels, by file name, and gives them the scores it is told."""

    batch_size = 2

    def __init__(self, loaded: DetectionSet, scores: Sequence[float]) -> None:
        self.categories: tuple[Category, ...] = loaded.categories
        self.records = {record.path: record for record in loaded.images}
        self.scores = np.array(scores, np.float32)
        self.batches: list[int] = []

    def predict(self, images: Sequence[Any]) -> list[Detections]:
        self.batches.append(len(images))
        found = []
        for path in images:
            boxes = self.records[path].boxes_xywh.copy()
            boxes[:, 2:] += boxes[:, :2]
            found.append(
                Detections(boxes.astype(np.float32), self.scores, self.records[path].labels)
            )
        return found


@pytest.fixture
def loaded(content: dict[str, Any], write_source: Write) -> DetectionSet:
    """Three images with two objects each."""
    content["images"].append({"id": 3, "file_name": "3.png", "width": 40, "height": 30})
    extra = [{**row, "id": row["id"] + 4, "image_id": 3} for row in content["annotations"][:2]]
    content["annotations"] += extra
    return load_sources([write_source(content)], num_classes=None)


def test_every_image_is_scored_also_in_a_last_short_batch(loaded: DetectionSet) -> None:
    """Three images in batches of two are three images."""
    oracle, seen = Oracle(loaded, [0.9, 0.8]), []
    scores, rows = evaluate_detector(oracle, loaded, on_progress=lambda *step: seen.append(step))
    assert scores.overall["AP"] == 1.0
    assert oracle.batches == [2, 1]
    assert seen == [(2, 3), (3, 3)]
    assert len(rows) == 6


def test_a_threshold_drops_detections_and_keeps_images_apart(loaded: DetectionSet) -> None:
    """With half the boxes below the threshold the others stay with their images."""
    scores, rows = evaluate_detector(Oracle(loaded, [0.9, 0.2]), loaded, conf_threshold=0.5)
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    assert scores.per_class["car"]["AP"] == 1.0
    assert scores.per_class["person"]["AP"] == 0.0


def test_a_threshold_may_drop_everything(loaded: DetectionSet) -> None:
    """No detection left is a score of 0."""
    scores, rows = evaluate_detector(Oracle(loaded, [0.1, 0.1]), loaded, conf_threshold=0.5)
    assert (scores.overall["AP"], rows) == (0.0, [])


def test_the_caller_may_set_the_batch(loaded: DetectionSet) -> None:
    """batch_size wins over the detector's own."""
    oracle = Oracle(loaded, [0.9, 0.8])
    evaluate_detector(oracle, loaded, batch_size=3, category_ids=[1])
    assert oracle.batches == [3]


def test_a_detector_that_loses_images_is_refused(loaded: DetectionSet) -> None:
    """Answers are never matched with the wrong images."""
    oracle = Oracle(loaded, [0.9, 0.8])
    oracle.predict = lambda images: []  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="must answer for 2 images, got 0"):
        evaluate_detector(oracle, loaded)


def test_results_are_written_whole(loaded: DetectionSet, tmp_path: Path) -> None:
    """results.json has figures and the caller's facts, detections.json the rows, and no rest."""
    scores, rows = evaluate_detector(Oracle(loaded, [0.9, 0.8]), loaded)
    path = write_results(tmp_path / "out", scores, rows, {"checkpoint": "best.pth"})
    written = json.loads(path.read_text())
    assert written["checkpoint"] == "best.pth"
    assert written["overall"]["AP"] == 1.0
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == rows
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "detections.json",
        "results.json",
    ]
