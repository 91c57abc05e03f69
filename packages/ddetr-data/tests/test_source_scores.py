"""Each data source is scored on its own, under its own name."""

from __future__ import annotations

import pytest

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.scoring import CocoScorer, score_sources, source_names
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Detections


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSource, ...]:
    """Two sources of two and three drawn images."""
    made = make_dataset(
        tmp_path_factory.mktemp("data"),
        num_images={"day": 2, "night": 3},
        image_size_hw=(64, 64),
        num_classes=2,
        objects=(1, 2),
    )
    return tuple(
        DataSource(image_dir=str(made.image_dirs[name]), json_file=str(made.json_files[name]))
        for name in ("day", "night")
    )


def test_a_source_that_was_found_scores_one_and_the_other_zero(sources) -> None:
    """Perfect answers for the first source alone."""
    loaded = load_sources(sources, num_classes=None)
    scorer = CocoScorer(loaded)
    for record in loaded.images:
        if record.source == 0:
            boxes = record.boxes_xywh.copy()
            boxes[:, 2:] += boxes[:, :2]
            scores = 0 * record.labels.astype("float32") + 1
            scorer.add(record.id, Detections(boxes.astype("float32"), scores, record.labels))
    found = score_sources(scorer, sources)
    day, night = source_names(sources)
    assert found[day]["overall"]["AP"] == pytest.approx(1)
    assert found[night]["overall"]["AP"] == 0
    assert "instances_day" in day


def test_names_are_unique() -> None:
    """The same labels over two folders, and even the same source twice."""
    one, other = (DataSource(image_dir=name, json_file="a.json") for name in ("x", "y"))
    assert source_names([one, other]) == ["a.json in x", "a.json in y"]
    assert len(set(source_names([one, one]))) == 2
