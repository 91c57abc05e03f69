"""Evaluation of any detector: batches, thresholds, what is told, and the files that remain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_data.coco import load_sources
from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource
from ddetr_data.detection import Detector, EvaluateConfig, RunEvent, evaluate
from ddetr_data.formats import number_categories
from ddetr_data.images import PreprocessConfig
from ddetr_data.scoring import Scores
from ddetr_data.types import Detections

Write = Callable[..., DataSource]


class Oracle(Detector):
    """Knows the labels, by file, and gives them the scores it is told."""

    batch_size = 2
    description = "the oracle runs on the CPU"

    def __init__(self, source: DataSource, scores: Sequence[float]) -> None:
        labelled = load_sources([source], num_classes=None)
        self.categories = labelled.categories
        self.records = {record.path: record for record in labelled.images}
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
def source(content: dict[str, Any], write_source: Write) -> DataSource:
    """Three images with two objects each."""
    content["images"].append({"id": 3, "file_name": "3.png", "width": 40, "height": 30})
    extra = [{**row, "id": row["id"] + 4, "image_id": 3} for row in content["annotations"][:2]]
    content["annotations"] += extra
    return write_source(content)


@pytest.fixture
def run(source: DataSource, tmp_path: Path) -> Callable[..., tuple[Scores, list[Any]]]:
    """Evaluate a detector; gives the scores and the rows of detections.json."""

    def evaluated(
        detector: Detector, dataset: DatasetConfig | None = None, **options: Any
    ) -> tuple[Scores, list[Any]]:
        dataset = dataset or data_of(source)
        observers = options.pop("observers", ())
        config = EvaluateConfig(**options)
        scores = evaluate(detector, dataset, config, tmp_path / "out", observers=observers)
        return scores, json.loads((tmp_path / "out" / "detections.json").read_text())

    return evaluated


def data_of(source: DataSource, **options: Any) -> DatasetConfig:
    return DatasetConfig(test_data_sources=(source,), dataset_type="default", **options)


def test_every_image_is_scored_also_in_a_last_short_batch(source, run) -> None:
    """Three images in batches of two are three images, and both batches are told."""
    oracle, told = Oracle(source, [0.9, 0.8]), []
    scores, rows = run(oracle, observers=[told.append])
    assert scores.overall["AP"] == 1.0
    assert oracle.batches == [2, 1]
    steps = [event for event in told if event.kind == "step"]
    assert [(event.step, event.total_steps) for event in steps] == [(2, 3), (3, 3)]
    assert steps[0].eta_seconds > 0 == steps[1].eta_seconds
    assert len(rows) == 6


def test_a_threshold_drops_detections_and_keeps_images_apart(source, run) -> None:
    """With half the boxes below the threshold the others stay with their images."""
    scores, rows = run(Oracle(source, [0.9, 0.2]), conf_threshold=0.5)
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    assert scores.per_class["car"]["AP"] == 1.0
    assert scores.per_class["person"]["AP"] == 0.0


def test_a_threshold_may_drop_everything(source, run) -> None:
    """No detection left is a score of 0."""
    scores, rows = run(Oracle(source, [0.1, 0.1]), conf_threshold=0.5)
    assert (scores.overall["AP"], rows) == (0.0, [])


def test_each_class_may_have_its_threshold(source, run, tmp_path) -> None:
    """By name, by id and for all others; what results.json then says of the best ones."""
    for written in ({"person": 0.3}, {"2": 0.3}, {"default": 0.3, "car": 0.0}):
        _, rows = run(Oracle(source, [0.9, 0.2]), conf_threshold=written)
        assert {row["category_id"] for row in rows} == {1}
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["conf_threshold"] == {"default": 0.3, "car": 0.0}
    car, person = (content["thresholds"][name] for name in ("car", "person"))
    assert (car["threshold"], car["f1"], car["objects"]) == (0.9, 1.0, 3)
    assert (person["threshold"], person["reason"]) == (None, "nothing of it was found")
    for written, said in (
        ({"cat": 0.3}, "evaluate.conf_threshold names the class 'cat', which the model does not "),
        ({"persn": 0.3}, "not have; did you mean 'person'?"),
        ({"9": 0.3}, "it has 'car', 'person'"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            run(Oracle(source, [0.9, 0.2]), conf_threshold=written)


def test_a_detector_that_loses_images_is_refused(source, run) -> None:
    """Answers are never matched with the wrong images."""
    oracle = Oracle(source, [0.9, 0.8])
    oracle.predict = lambda images: []  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="must answer for 2 images, got 0"):
        run(oracle)


def test_results_are_written_whole(source, run, tmp_path: Path) -> None:
    """results.json has figures and the facts of the run, detections.json the rows, and no rest."""
    run(Oracle(source, [0.9, 0.8]), checkpoint="best.pth")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (written["checkpoint"], written["images"]) == ("best.pth", 3)
    assert written["overall"]["AP"] == 1.0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["detections.json", "results.json"]


def test_the_whole_run_is_told(source, run) -> None:
    """What runs the detector and how it resizes, then the images, at last the figures."""
    told: list[RunEvent] = []
    oracle = Oracle(source, [0.9, 0.8])
    oracle.preprocess_config = PreprocessConfig(shortest_edge=64, max_size=96)
    oracle.notices = ("no GPU here",)
    run(oracle, observers=[told.append])
    assert [(event.kind, event.message) for event in told if event.kind == "notice"] == [
        (
            "notice",
            "the oracle runs on the CPU; images are resized to a short side of 64 pixels, "
            "96 at most",
        ),
        ("notice", "no GPU here"),
    ]
    others = [event for event in told if event.kind not in ("notice", "step")]
    assert [event.kind for event in others] == ["started", "finished"]
    assert others[0].message == "evaluating 3 images"
    assert others[1].metrics["AP"] == 1.0


@pytest.mark.parametrize(
    ("own", "asked", "told"),
    [
        ({"shortest_edge": 64}, {"test_random_resize": 64}, ""),
        ({"shortest_edge": 64}, {}, "(shortest_edge 64), not as .* says (shortest_edge 800)"),
        ({"mode": "fixed", "height": 8, "width": 9, "max_size": 4}, {}, ""),
        (
            {"mode": "fixed", "height": 8, "width": 9, "mean": (0.5,)},
            {"input_mean": (0.1,)},
            "(mean (0.5,)), not as .* says (mean (0.1,))",
        ),
    ],
)
def test_other_pixels_than_the_spec_asks_for_are_told(source, run, own, asked, told) -> None:
    """The detector's own preparation is used; what a fixed size makes of no account is not said."""
    events: list[RunEvent] = []
    oracle = Oracle(source, [0.9, 0.8])
    oracle.preprocess_config = PreprocessConfig(**own)
    dataset = data_of(source, augmentation=AugmentationConfig(**asked))
    run(oracle, dataset, observers=[events.append])
    texts = [event.message for event in events if "made for" in event.message]
    if not told:
        assert texts == []
    for part in told.split(".*") if told else ():
        assert part in texts[0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("car", "person", "bus"), []),
        ((), []),
        (("CAR", "class_2"), []),
        (("car",), ["class names differ: id 2 is absent in the model and 'person' in the data"]),
    ],
)
def test_classes_that_one_side_lacks_are_no_conflict(source, run, names, told) -> None:
    """What the model lacks is told; what the data lack, no names and other spellings are not."""
    # fault 21
    oracle, events = Oracle(source, [0.9, 0.8]), []
    oracle.categories = number_categories(names)
    run(oracle, observers=[events.append])
    assert [each.message for each in events if "differ" in each.message] == told


@pytest.mark.parametrize("names", [("person", "car"), ("person", "person"), ("bus", "person")])
def test_ids_that_mean_other_classes_are_refused(source, run, names) -> None:
    """Another order or another name would be scored as if it were the same class."""
    # fault 21
    oracle = Oracle(source, [0.9, 0.8])
    oracle.categories = number_categories(names)
    first = f"class names differ: id 1 is {names[0]!r} in the model and 'car' in the data"
    with pytest.raises(ValueError, match=f"{first}.*match_classes"):
        run(oracle)


def test_ids_are_mapped_by_name_when_asked_for(source, run) -> None:
    """The detections keep the model's ids; a class that it does not name is left out, and told."""
    # fault 21
    oracle = Oracle(source, [0.9, 0.8])
    oracle.records = {
        path: replace(
            record, annotations=replace(record.annotations, labels=3 - record.annotations.labels)
        )
        for path, record in oracle.records.items()
    }
    oracle.categories = number_categories(("person", "Car"))
    scores, rows = run(oracle, data_of(source, match_classes="name"))
    assert (scores.overall["AP"], sorted(scores.per_class)) == (1.0, ["Car", "person"])
    assert [row["category_id"] for row in rows[:2]] == [2, 1]
    oracle.categories = number_categories(("bus", "Car"))
    scores, _ = run(oracle, data_of(source, match_classes="name"))
    assert scores.per_class == {"Car": {"AP": 1.0, "AP50": 1.0}}
    oracle.categories = number_categories(("bus", "bag"))
    with pytest.raises(ValueError, match="not one class of the data has a name"):
        run(oracle, data_of(source, match_classes="name"))


def test_labels_beyond_the_detector_are_refused(source, run) -> None:
    """A detector of two classes is not scored on an id of 2."""
    oracle = Oracle(source, [0.9, 0.8])
    oracle.num_classes = 2
    with pytest.raises(ValueError, match="needs num_classes of at least 3, got 2"):
        run(oracle)


def test_without_test_data_the_key_is_named(source, run) -> None:
    """There is nothing to score."""
    with pytest.raises(ValueError, match=r"dataset\.test_data_sources"):
        run(Oracle(source, [0.9, 0.8]), DatasetConfig())


def test_several_sources_are_scored_apart_too(content, write_source, tmp_path: Path) -> None:
    """results.json has each source's figures under its name; one source needs no such part."""
    one, other = write_source(content, "one"), write_source(content, "other")
    oracle = Oracle(one, [0.9, 0.8])
    oracle.records |= Oracle(other, [0.9, 0.8]).records
    for sources in ((one,), (one, other)):
        dataset = DatasetConfig(test_data_sources=sources, dataset_type="default")
        evaluate(oracle, dataset, EvaluateConfig(), tmp_path / "out")
        written = json.loads((tmp_path / "out" / "results.json").read_text())
        parts = written.get("per_source", {})
        assert len(parts) == (0 if len(sources) == 1 else 2)
        assert all(part["overall"]["AP"] == 1.0 for part in parts.values())


def test_scores_can_be_limited_to_classes(source, run) -> None:
    """An id that the data do not have is an error before any image is looked at."""
    oracle = Oracle(source, [0.9, 0.8])
    scores, _ = run(oracle, data_of(source, eval_class_ids=(2,)))
    assert list(scores.per_class) == ["person"]
    oracle.batches.clear()
    with pytest.raises(ValueError, match="9"):
        run(oracle, data_of(source, eval_class_ids=(9,)))
    assert oracle.batches == []
