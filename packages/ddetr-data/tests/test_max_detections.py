"""More objects in an image than COCO's 100 detections: scored where it is asked for, else told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.detection import (
    Detector,
    EvaluateConfig,
    RunEvent,
    evaluate,
    limit_notices,
    raised_num_select,
)
from ddetr_data.scoring import CocoScorer, judge
from ddetr_data.types import Detections

# fault 23
OBJECTS = 150
JUDGES = ("pycocotools", "faster")


@pytest.fixture
def crowded(write_source: Any) -> DataSource:
    """An image with 150 objects of one class, and one with a crowd and two objects."""
    boxes = [[20.0 * (n % 15), 20.0 * (n // 15), 15.0, 15.0] for n in range(OBJECTS)]
    owners = [1] * OBJECTS + [2, 2, 2]
    annotations = [
        {"id": number, "image_id": owner, "category_id": 1, "bbox": box, "area": 225.0}
        | {"iscrowd": int(number == OBJECTS + 1)}
        for number, (owner, box) in enumerate(zip(owners, boxes + boxes[:3], strict=True), 1)
    ]
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 300, "height": 200}
        for number in (1, 2)
    ]
    categories = [{"id": 1, "name": "cell"}]
    source = write_source({"images": images, "annotations": annotations, "categories": categories})
    for number in (1, 2):
        Image.new("RGB", (300, 200)).save(f"{source.image_dir}/{number}.png")
    return source


def truth(labelled: DetectionSet) -> dict[int, Detections]:
    """The labels as detections, each surer than the next one."""
    found = {}
    for record in labelled.images:
        boxes = record.boxes_xywh.copy()
        boxes[:, 2:] += boxes[:, :2]
        scores = np.linspace(0.99, 0.5, len(boxes)).astype(np.float32)
        found[record.id] = Detections(boxes.astype(np.float32), scores, record.labels)
    return found


def score(labelled: DetectionSet, limit: int, by: Any = "auto") -> dict[str, float]:
    """Score the labels as detections."""
    scorer = CocoScorer(labelled, judge=by, max_detections=limit)
    for image_id, found in truth(labelled).items():
        scorer.add(image_id, found)
    return scorer.score().overall


@pytest.mark.parametrize("by", JUDGES)
def test_all_objects_count_where_that_is_asked_for(crowded: DataSource, by: str) -> None:
    """Perfect detections of 150 objects score 1 with a limit of 150, and less with COCO's."""
    if by == "faster":
        pytest.importorskip("faster_coco_eval")
    labelled = load_sources([crowded], num_classes=None)
    assert score(labelled, OBJECTS, by)["AP"] == 1.0
    assert score(labelled, 100, by)["AP"] == pytest.approx(0.673, abs=0.001)
    assert list(score(labelled, OBJECTS, by))[6:9] == ["AR1", "AR10", "AR150"]
    assert score(labelled, OBJECTS, by)["AR150"] == 1.0


@pytest.mark.parametrize("limit", [1, 5, 10, 11, 99, 100, 101, 149, 500])
@pytest.mark.parametrize("by", JUDGES)
def test_the_figures_are_those_of_pycocotools(crowded: DataSource, limit: int, by: Any) -> None:
    """Precisions and recalls at [1, 10, N], which its own summary averages for 100 alone."""
    if by == "faster":
        pytest.importorskip("faster_coco_eval")
    labelled = load_sources([crowded], num_classes=None)
    truth_rows = labelled.to_coco()
    generator = np.random.default_rng(limit)
    rows: list[Any] = [
        {
            "image_id": row["image_id"],
            "category_id": 1,
            "bbox": [side + float(shift) for side, shift in zip(row["bbox"], moved, strict=True)],
            "score": float(generator.random()),
        }
        for row, moved in zip(
            truth_rows["annotations"], generator.normal(0, 2, (OBJECTS + 3, 4)), strict=True
        )
    ]
    coco, found = COCO(), COCO()
    coco.dataset = truth_rows
    coco.createIndex()
    found = coco.loadRes(rows)
    run = COCOeval(coco, found, "bbox")
    limits = sorted({min(1, limit), min(10, limit), limit})
    run.params.maxDets = limits
    run.evaluate()
    run.accumulate()
    precision, recall = run.eval["precision"], run.eval["recall"]
    verdict = judge(truth_rows, rows, [1], by=by, max_detections=limit)
    expected = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
    expected += [precision[..., size, -1] for size in (1, 2, 3)]
    expected += [recall[..., 0, limits.index(min(few, limit))] for few in (1, 10, limit)]
    expected += [recall[..., size, -1] for size in (1, 2, 3)]
    means = [each[each > -1].mean() if (each > -1).any() else math.nan for each in expected]
    np.testing.assert_array_equal(verdict.figures, means)
    if limit == 100:
        run.summarize()
        np.testing.assert_array_equal(np.nan_to_num(verdict.figures, nan=-1.0), run.stats)


def test_images_with_more_objects_are_told(crowded: DataSource) -> None:
    """By the limit of the scores and by that of the detector; crowds are no objects."""
    labelled = load_sources([crowded], num_classes=None)
    assert labelled.object_counts.tolist() == [OBJECTS, 2]
    (notice,) = limit_notices(labelled, 100)
    assert notice.startswith("1 image with more than 100 objects (up to 150)")
    assert notice.endswith("set evaluate.max_detections=150")
    assert limit_notices(labelled, 150) == limit_notices(labelled, 150, 150) == []
    (other,) = limit_notices(labelled, 150, 120)
    assert other.startswith("the detector gives at most 120 detections an image")


def test_a_detector_keeps_as_many_as_are_scored() -> None:
    """The model's own number stays, unless more than COCO's 100 are asked for."""
    assert raised_num_select(20, 100) == 20
    assert raised_num_select(20, 300) == 300
    assert raised_num_select(400, 300) == 400


class Oracle(Detector):
    """Knows the labels, in their order."""

    batch_size = 1
    categories = ()
    most_detections = 400

    def __init__(self, labelled: DetectionSet) -> None:
        found = truth(labelled)
        self._found = {record.path: found[record.id] for record in labelled.images}

    def predict(self, images: Any) -> list[Detections]:
        return [self._found[path] for path in images]


def test_an_evaluation_scores_by_the_limit_and_tells_it(crowded: DataSource, tmp_path: Any) -> None:
    """results.json names it; a notice stands where images hold more."""
    dataset = DatasetConfig(test_data_sources=crowded, dataset_type="default")
    detector = Oracle(load_sources([crowded], num_classes=None))
    for limit, notices in ((100, 1), (OBJECTS, 0)):
        told: list[RunEvent] = []
        config = EvaluateConfig(max_detections=limit)
        scores = evaluate(detector, dataset, config, tmp_path, observers=[told.append])
        assert (scores.overall["AP"] == 1.0) == (limit == OBJECTS)
        assert f'"max_detections": {limit}' in (tmp_path / "results.json").read_text()
        assert sum("evaluate.max_detections" in event.message for event in told) == notices


def test_a_check_finds_them_where_images_are_scored(crowded: DataSource) -> None:
    """In validation and test, not in training."""
    options = CheckOptions(max_detections=100, decode=False)
    for split, found in (("val", 1), ("test", 1), ("train", 0)):
        report = check_dataset({split: [crowded]}, options)
        assert report.counts.get("more_objects_than_detections", 0) == found
