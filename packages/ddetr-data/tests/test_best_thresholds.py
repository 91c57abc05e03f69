"""The score of each class from which its F1 is best: by hand, and against every other score."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource, Judge
from ddetr_data.faults import FaultLog
from ddetr_data.scoring import BestThreshold, CocoScorer
from ddetr_data.scoring.coco_eval import match_images
from ddetr_data.types import Annotations, Category, Detections, ImageRecord

CAR, DOG, BAG = Category(3, "car"), Category(1, "dog"), Category(7, "bag")
Row = tuple[int, float, float]  # label, left edge, score


def labelled(*images: list[tuple[int, float, bool]]) -> DetectionSet:
    """Objects of 10 x 10 pixels in a row: label, left edge, whether it is a crowd."""
    records = []
    for number, objects in enumerate(images, start=1):
        boxes = np.array([[left, 0, 10, 10] for _, left, _ in objects], np.float64).reshape(-1, 4)
        labels = np.array([label for label, _, _ in objects], np.int64)
        crowds = np.array([crowd for _, _, crowd in objects], np.bool_)
        annotations = Annotations(boxes, labels, crowds, np.full(len(objects), 100.0))
        name = f"{number}.png"
        records.append(ImageRecord(number, name, name, 400, 20, annotations))
    return DetectionSet(records, (DOG, CAR, BAG), FaultLog())


def found(*rows: Row) -> Detections:
    return Detections(
        np.array([[left, 0, left + 10, 10] for _, left, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in rows], np.float32),
        np.array([label for label, _, _ in rows], np.int64),
    )


def thresholds(truth: DetectionSet, *images: Detections) -> dict[str, BestThreshold]:
    scorer = CocoScorer(truth)
    for number, each in enumerate(images, start=1):
        scorer.add(number, each)
    return scorer.thresholds()


def test_thresholds_by_hand() -> None:
    """F1 is 2/3 from the first car on, 1/2 with the wrong one, 4/5 with all; nothing is guessed."""
    truth = labelled([(3, 0, False), (3, 50, False), (1, 300, False)])
    given = found((3, 0, 0.912345), (3, 200, 0.6), (3, 50, 0.5123), (7, 9, 0.9))
    best = thresholds(truth, given)
    car = best["car"]
    assert (car.category_id, car.threshold, car.objects, car.detections) == (3, 0.51, 2, 3)
    assert [car.f1, car.precision, car.recall] == pytest.approx([0.8, 2 / 3, 1.0])
    assert math.isnan(best["dog"].threshold)
    assert best["dog"].reason == "nothing of it was found"
    assert best["bag"].reason == "the data hold no object of it"
    plain = json.loads(json.dumps(best["dog"].to_dict(), allow_nan=False))
    assert plain["threshold"] is None
    assert BestThreshold.from_dict(plain).reason == best["dog"].reason


def test_of_equal_f1_the_highest_threshold_is_taken_and_equal_scores_stay_together() -> None:
    """One of two cars is found, then a wrong one beside the other: 2/3 and 2/4 and then 2/3."""
    truth = labelled([(3, 0, False), (3, 50, False)])
    rows = [(3, 0, 0.9), (3, 100, 0.5), (3, 150, 0.5), (3, 50, 0.5), (3, 200, 0.4)]
    tied = thresholds(truth, found(*rows))["car"]
    assert (tied.threshold, tied.f1) == (0.9, pytest.approx(2 / 3))
    wrong = thresholds(truth, found((3, 100, 0.9)))["car"]
    assert wrong.reason == "none of 1 detections is right"


def test_a_threshold_has_as_few_digits_as_keep_the_same_detections() -> None:
    """It lies above the next lower score, as float32 tells them apart."""
    truth = labelled([(3, 0, False), (3, 50, False)])
    for right, below, expected in (
        (0.7777, 0.3, 0.77),
        (0.7777, 0.7771, 0.7777),
        (0.004, 0.001, 0.004),
        (0.12345678, 0.12345676, 0.12345678),
        (1.0, 0.2, 1.0),
    ):
        best = thresholds(truth, found((3, 0, right), (3, 100, below)))["car"]
        assert best.threshold == expected
        assert len(found((3, 0, right), (3, 100, below)).above(best.threshold)) == 1


OBJECTS = st.lists(
    st.tuples(st.sampled_from([1, 3]), st.sampled_from([0, 4, 20, 50]), st.booleans()), max_size=4
)
SCORES = st.sampled_from([0.05, 0.3, 0.3000001, 0.5, 0.9])
FOUND = st.lists(
    st.tuples(st.sampled_from([1, 3]), st.sampled_from([0, 3, 21, 90]), SCORES), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(images=st.lists(st.tuples(OBJECTS, FOUND), min_size=1, max_size=3))
def test_no_threshold_is_better(images: list[Any]) -> None:
    """Detections cut at it have the F1 that it states, by a matching anew; no other score more."""
    truth = labelled(*(objects for objects, _ in images))
    answers = [found(*rows) for _, rows in images]
    for best in thresholds(truth, *answers).values():
        if best.reason:
            continue
        assert measured(truth, answers, best.category_id, best.threshold) == pytest.approx(best.f1)
        for each in answers:
            for score in each.scores.tolist():
                other = measured(truth, answers, best.category_id, score)
                assert other <= best.f1 + 1e-12


def measured(truth: DetectionSet, answers: list[Detections], label: int, least: float) -> float:
    """F1 of one class where a detector gives no lower score."""
    scorer = CocoScorer(truth, category_ids=[label], judge="pycocotools")
    for number, each in enumerate(answers, start=1):
        scorer.add(number, each.above(least))
    (rows,) = match_images(truth.to_coco(), scorer.results(), [label])
    counts = [~np.asarray(row["dtIgnore"][0], bool) for row in rows if row]
    hits = [np.asarray(row["dtMatches"][0]) != 0 for row in rows if row]
    right = sum(int((hit & count).sum()) for hit, count in zip(hits, counts, strict=True))
    kept = sum(int(count.sum()) for count in counts)
    objects = sum(int((np.asarray(row["gtIgnore"]) == 0).sum()) for row in rows if row)
    return 2 * right / (kept + objects) if kept + objects else 0.0


def test_a_published_set_has_the_same_thresholds_whoever_judges(shared_data: Path) -> None:
    """COCO's own example, in which some classes have no object."""
    folder = shared_data / "cocoeval_fixture"
    labels = folder / "instances_val2014_100.json"
    source = DataSource(image_dir=str(folder), json_file=str(labels))
    loaded = load_sources([source], num_classes=None)
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    by_judge = []
    judges: tuple[Judge, ...] = ("pycocotools", "auto")
    for judge in judges:
        scorer = CocoScorer(loaded, judge=judge)
        scorer.add_results(rows)
        by_judge.append({name: each.to_dict() for name, each in scorer.thresholds().items()})
    assert by_judge[0] == by_judge[1]
    assert {each["reason"] for each in by_judge[0].values()} >= {"the data hold no object of it"}
    assert 0 < by_judge[0]["person"]["threshold"] < 1
