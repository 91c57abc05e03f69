"""Scores are pycocotools' own, whatever the ids and however few the detections."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_data.coco import (
    DetectionSet,
    detections_from_coco,
    detections_to_coco,
    load_sources,
    read_results,
)
from ddetr_data.config import DataSource
from ddetr_data.faults import DataError
from ddetr_data.scoring import METRICS, CocoScorer
from ddetr_data.types import Detections

Content = dict[str, Any]
Write = Callable[..., DataSource]


def load(source: DataSource) -> DetectionSet:
    return load_sources([source], num_classes=None)


def truth_as_detections(loaded: DetectionSet) -> dict[int, Detections]:
    """Answer with the labels themselves."""
    found = {}
    for record in loaded.images:
        boxes = record.boxes_xywh.copy()
        boxes[:, 2:] += boxes[:, :2]
        scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
        found[record.id] = Detections(boxes.astype(np.float32), scores, record.labels)
    return found


def test_the_published_figures_come_out(shared_data: Path) -> None:
    """Twelve figures and every class equal those of the fixture to the last digit."""
    folder = shared_data / "cocoeval_fixture"
    labels = folder / "instances_val2014_100.json"
    scorer = CocoScorer(load(DataSource(image_dir=str(folder), json_file=str(labels))))
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    scorer.add_results(rows)
    scores = scorer.score()
    expected = json.loads((folder / "expected.json").read_text())
    assert scores.overall == {name: expected["bbox"][name] for name in METRICS}
    for name, figures in expected["per_class"].items():
        ours = {
            key: -1 if math.isnan(value) else value for key, value in scores.per_class[name].items()
        }
        assert ours == pytest.approx(figures, abs=1e-12)


def test_the_truth_scores_one(content: Content, write_source: Write) -> None:
    """Ids from 0, for images and annotations, cost nothing."""
    for row in content["annotations"]:
        row["id"] -= 1
        row["image_id"] -= 1
    for row in content["images"]:
        row["id"] -= 1
    loaded = load(write_source(content))
    scorer = CocoScorer(loaded)
    for image_id, detections in truth_as_detections(loaded).items():
        scorer.add(image_id, detections)
    scores = scorer.score()
    assert scores.overall["AP"] == scores.overall["AR100"] == 1.0
    assert scores.per_class == {name: {"AP": 1.0, "AP50": 1.0} for name in ("car", "person")}


def test_no_detections_score_zero(
    content: Content, write_source: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing found is 0, sizes that do not occur are NaN, and nothing is printed."""
    scorer = CocoScorer(load(write_source(content)))
    scorer.add(1, Detections.empty())
    scores = scorer.score()
    assert scores.overall["AP"] == 0
    assert math.isnan(scores.overall["APl"])
    assert scores.to_dict()["overall"]["APl"] is None
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["per_class"]["car"]["AP"] == 0
    assert capfd.readouterr() == ("", "")


def test_images_that_were_never_added_count_as_missed(
    content: Content, write_source: Write
) -> None:
    """Half the images found is half the recall."""
    loaded = load(write_source(content))
    scorer = CocoScorer(loaded)
    scorer.add(1, truth_as_detections(loaded)[1])
    assert scorer.score().overall["AR100"] == 0.5


def test_an_image_that_is_added_again_replaces_itself(
    content: Content, write_source: Write
) -> None:
    """Ranks that have the same image as padding do not double its detections."""
    loaded = load(write_source(content))
    scorer = CocoScorer(loaded)
    found = truth_as_detections(loaded)
    for image_id in (1, 2, 1):
        scorer.add(image_id, found[image_id])
    assert len(scorer.results()) == 4


def test_crowds_neither_help_nor_harm(content: Content, write_source: Write) -> None:
    """A crowd is no object to find, and detections inside it are not false."""
    content["annotations"][0] |= {"iscrowd": 1, "bbox": [0, 0, 40, 30]}
    loaded = load(write_source(content))
    scorer = CocoScorer(loaded, category_ids=[1])
    found = truth_as_detections(loaded)
    inside = Detections(
        np.array([[1, 1, 6, 6]], np.float32), np.array([0.99], np.float32), np.array([1])
    )
    scorer.add(1, inside)
    scorer.add(2, found[2])
    assert scorer.score().overall["AP"] == pytest.approx(1.0)


def test_only_chosen_classes_are_scored(content: Content, write_source: Write) -> None:
    """eval_class_ids limits the table and the mean."""
    loaded = load(write_source(content))
    scorer = CocoScorer(loaded, category_ids=[2])
    for image_id, detections in truth_as_detections(loaded).items():
        keep = detections.labels == 2
        scorer.add(
            image_id,
            Detections(
                detections.boxes_xyxy[keep], detections.scores[keep], detections.labels[keep]
            ),
        )
    assert scorer.score().overall["AP"] == 1.0
    assert list(scorer.score().per_class) == ["person"]
    with pytest.raises(ValueError, match=r"\[9\] are not"):
        CocoScorer(loaded, category_ids=[9])


def test_classes_with_one_name_are_told_apart(content: Content, write_source: Write) -> None:
    """Two categories of one name get their ids in the table."""
    content["categories"][0]["name"] = "person"
    assert list(CocoScorer(load(write_source(content))).score().per_class) == [
        "person (id 1)",
        "person (id 2)",
    ]


def test_detections_survive_a_dump() -> None:
    """Rows and arrays turn into each other; what is not finite is left out."""
    detections = Detections(
        np.array([[1, 2, 4, 6], [np.nan, 0, 1, 1], [0, 0, 8, 8]], np.float32),
        np.array([0.5, 0.9, 0.75], np.float32),
        np.array([3, 3, 4]),
    )
    rows = detections_to_coco(7, detections)
    assert rows[0] == {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}
    back = detections_from_coco(json.loads(json.dumps(rows)))[7]
    assert back.scores.tolist() == [0.75, 0.5]
    assert back.boxes_xyxy.tolist() == [[0, 0, 8, 8], [1, 2, 4, 6]]
    assert back.labels.tolist() == [4, 3]


def test_result_rows_with_text_ids_are_mended() -> None:
    """Ids and boxes written as texts are read."""
    row = {"image_id": "7", "category_id": "3", "bbox": ["1", 2, 3, 4], "score": 1}
    assert read_results([row]) == {
        7: [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1.0}]
    }


@pytest.mark.parametrize(
    "change", [{"image_id": "a.jpg"}, {"category_id": None}, {"bbox": [1]}, {"score": "high"}]
)
def test_result_rows_that_cannot_be_read_are_named(change: dict[str, object]) -> None:
    """The error gives the row's number."""
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}
    with pytest.raises(DataError, match="detection 1 must have"):
        read_results([good, {**good, **change}])


def test_an_unknown_image_is_refused(content: Content, write_source: Write) -> None:
    """Detections of an image outside the set are a mistake, not noise."""
    with pytest.raises(ValueError, match="image id 99"):
        CocoScorer(load(write_source(content))).add(99, Detections.empty())


def test_detections_must_agree_in_number() -> None:
    """Arrays of different lengths are found where they are made."""
    with pytest.raises(ValueError, match="must agree in number"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64))
