"""Curves, confusion tables and scores by source, on cases that can be worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource
from ddetr_data.scoring import NOTHING, CocoScorer, confusion_table
from ddetr_data.types import Detections

Content = dict[str, Any]
Write = Callable[..., DataSource]

CAR, PERSON = 1, 2
CAR_BOX, PERSON_BOX, FREE_BOX = [5, 4, 15, 12], [10, 4, 20, 12], [30, 20, 38, 28]


def found(*rows: tuple[list[float], float, int]) -> Detections:
    """Detections from (corners, score, label)."""
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
    )


@pytest.fixture
def loaded(content: Content, write_source: Write) -> DetectionSet:
    """Two images, each with a car and a person."""
    return load_sources([write_source(content)], num_classes=None)


def test_a_curve_shows_where_precision_falls(loaded: DetectionSet) -> None:
    """One right car, then a false one, then the other right car."""
    scorer = CocoScorer(loaded)
    scorer.add(1, found((CAR_BOX, 0.9, CAR), (FREE_BOX, 0.6, CAR)))
    scorer.add(2, found((CAR_BOX, 0.5, CAR)))
    curve = scorer.curves()["car"]
    assert curve.recall.shape == curve.precision.shape == (101,)
    assert curve.precision[:51].tolist() == pytest.approx([1.0] * 51)
    assert curve.precision[51:].tolist() == pytest.approx([2 / 3] * 50)
    assert json.loads(json.dumps(curve.to_dict(), allow_nan=False))["scores"][0] == curve.scores[0]


def test_a_class_that_does_not_occur_has_no_curve(content: Content, write_source: Write) -> None:
    """Nothing to find is neither good nor bad; a class that is never found has precision 0."""
    content["categories"].append({"id": 3, "name": "bag"})
    curves = CocoScorer(load_sources([write_source(content)], num_classes=None)).curves()
    assert len(curves["bag"].recall) == 0
    assert (curves["person"].precision == 0).all()


def test_sources_are_scored_apart(content: Content, write_source: Write) -> None:
    """Everything found in the first source and nothing in the second is 1 and 0."""
    both = load_sources([write_source(content, "a"), write_source(content, "b")], num_classes=None)
    scorer = CocoScorer(both)
    for record in both.images:
        if record.source == 0:
            scorer.add(record.id, found((CAR_BOX, 0.9, CAR), (PERSON_BOX, 0.9, PERSON)))
    by_source = scorer.score_by_source()
    assert [by_source[source].overall["AP"] for source in (0, 1)] == pytest.approx([1.0, 0.0])
    assert scorer.score().overall["AR100"] == pytest.approx(0.5)


def test_confusion_counts_right_wrong_missed_and_invented(loaded: DetectionSet) -> None:
    """A car seen as a person, a person missed, and a car out of nothing."""
    detections = {
        1: found((CAR_BOX, 0.9, CAR), (PERSON_BOX, 0.8, PERSON)),
        2: found((CAR_BOX, 0.9, PERSON), (FREE_BOX, 0.7, CAR), (PERSON_BOX, 0.4, PERSON)),
    }
    table = confusion_table(loaded, detections)
    assert table.names == ("car", "person", NOTHING)
    assert table.counts.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert json.loads(json.dumps(table.to_dict()))["counts"][2] == [1, 0, 0]


def test_an_object_is_matched_once(loaded: DetectionSet) -> None:
    """The second detection of one object is an invention; images may have none."""
    table = confusion_table(loaded, {1: found((CAR_BOX, 0.9, CAR), (CAR_BOX, 0.8, CAR))})
    assert table.counts.tolist() == [[1, 0, 1], [0, 0, 2], [1, 0, 0]]


def test_classes_that_the_set_does_not_have_are_left_out(loaded: DetectionSet) -> None:
    """A model of COCO's 91 classes may find what a table of 2 has no row for."""
    table = confusion_table(loaded, {1: found((CAR_BOX, 0.9, 77), (CAR_BOX, 0.8, CAR))})
    assert table.counts.tolist() == [[1, 0, 1], [0, 0, 2], [0, 0, 0]]


def test_crowds_count_nowhere(content: Content, write_source: Write) -> None:
    """Neither a crowd nor the detections inside it are in the table."""
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0] |= {"iscrowd": 1, "bbox": [0, 0, 40, 30]}
    loaded = load_sources([write_source(content)], num_classes=None)
    rows = found((CAR_BOX, 0.9, CAR), (FREE_BOX, 0.8, PERSON))
    assert confusion_table(loaded, {1: rows}).counts.sum() == 0
