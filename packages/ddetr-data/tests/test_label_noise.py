"""Which labels a detector doubts: hand-worked cases of one image, and the files of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_data import DatasetConfig, DataSource
from ddetr_data.detection import (
    Detector,
    LabelDoubt,
    LabelSearch,
    find_label_noise,
    write_label_noise,
)
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Annotations, Category, Detections, ImageLike, ImageRecord

CAT, DOG = 1, 2
USUAL = 0.6  # what the detector gives to all labelled objects of either class
Box = tuple[float, float, float, float]  # left, top, width, height
HERE: Box = (100, 100, 40, 40)
AWAY: Box = (10, 10, 30, 30)


def record(image_id: int, objects: Sequence[tuple[int, Box]], crowd: bool = False) -> ImageRecord:
    boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
    labels = np.array([label for label, _ in objects], np.int64)
    is_crowd = np.full(len(labels), crowd)
    annotations = Annotations(boxes, labels, is_crowd, boxes[:, 2] * boxes[:, 3])
    return ImageRecord(image_id, Path(f"{image_id}.png"), f"{image_id}.png", 200, 200, annotations)


def detections(found: Sequence[tuple[int, float, Box]]) -> Detections:
    ranked = sorted(found, key=lambda each: -each[1])
    boxes = np.array([box for *_, box in ranked], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([score for _, score, _ in ranked], np.float32)
    return Detections(boxes, scores, np.array([label for label, *_ in ranked], np.int64))


def doubts(
    objects: Sequence[tuple[int, Box]],
    found: Sequence[tuple[int, float, Box]],
    crowd: bool = False,
) -> list[LabelDoubt]:
    """Judge one image among ten in which the detector finds a cat and a dog, each with USUAL."""
    good = [(CAT, AWAY), (DOG, HERE)]
    images = {n: record(n, good) for n in range(1, 11)} | {11: record(11, objects, crowd)}
    search = LabelSearch(images)
    for n in range(1, 11):
        search.add(n, detections([(label, USUAL, box) for label, box in good]))
    search.add(11, detections(found))
    return [each for each in search.doubts() if each.image_id == 11] + [
        each for each in search.doubts() if each.image_id != 11
    ]


def shifted(box: Box, right: float) -> Box:
    return (box[0] + right, *box[1:])


def test_labels_that_the_detector_confirms() -> None:
    """Neither a weaker score nor a slightly other box is a doubt, nor an unsure detection."""
    found = [(CAT, 0.4, shifted(HERE, 5)), (DOG, 0.3, HERE), (DOG, 0.5, AWAY)]
    assert doubts([(CAT, HERE)], found) == []
    assert doubts([], []) == []


def test_an_object_without_a_label() -> None:
    """Confident, away from every label, and one for each place."""
    (doubt,) = doubts([(CAT, HERE)], [(CAT, 0.6, HERE), (DOG, 0.7, AWAY), (CAT, 0.65, AWAY)])
    assert (doubt.kind, doubt.object_index, doubt.suggested_label) == ("missing", None, DOG)
    assert doubt.suggested_xyxy == (10, 10, 40, 40)
    assert doubt.score == pytest.approx(0.7, abs=1e-6)


def test_nothing_is_missing_in_a_crowd() -> None:
    """What lies in a crowd or a region is not labelled one by one."""
    assert doubts([(CAT, (0, 0, 150, 150))], [(CAT, 0.9, AWAY)], crowd=True) == []


def test_a_label_of_another_class() -> None:
    """A confident detection of the other class, hardly any of its own; ranked by the margin."""
    (doubt,) = doubts([(CAT, HERE)], [(DOG, 0.8, HERE), (CAT, 0.1, HERE)])
    assert (doubt.kind, doubt.object_index, doubt.suggested_label) == ("class", 0, DOG)
    assert doubt.score == pytest.approx(0.7, abs=1e-6)
    assert doubts([(CAT, HERE)], [(DOG, 0.8, HERE), (CAT, 0.5, HERE)]) == []


def test_another_class_next_to_it_is_its_neighbour() -> None:
    """A dog that has its own label does not make a cat of the label that it overlaps."""
    both = [(CAT, HERE), (DOG, shifted(HERE, 10))]
    assert doubts(both, [(DOG, 0.8, shifted(HERE, 10))]) == []


def test_a_box_that_fits_half() -> None:
    """The detection's box is suggested; a better detection of the class confirms the label."""
    loose = shifted(HERE, 16)  # an IoU of 24 / 56
    (doubt,) = doubts([(CAT, HERE)], [(CAT, 0.8, loose)])
    assert (doubt.kind, doubt.suggested_label) == ("box", CAT)
    assert doubt.suggested_xyxy == (116, 100, 156, 140)
    assert doubt.score == pytest.approx(0.8 * (1 - 24 / 56), abs=1e-6)
    assert doubts([(CAT, HERE)], [(CAT, 0.8, loose), (CAT, 0.4, HERE)]) == []


def test_a_label_around_nothing() -> None:
    """No detection of any class is near, not even a weak one."""
    (doubt,) = doubts([(CAT, HERE)], [(CAT, 0.05, HERE), (CAT, 0.5, AWAY)])
    assert (doubt.kind, doubt.object_index, doubt.suggested_label) == ("spurious", 0, None)
    assert doubts([(CAT, HERE)], [(DOG, 0.3, HERE)]) == []


def test_a_label_that_stands_twice() -> None:
    """One detection for two labels of a class: the one that fits worse is named, with its twin."""
    twice = [(CAT, shifted(HERE, 4)), (CAT, HERE)]
    (doubt,) = doubts(twice, [(CAT, 0.8, HERE)])
    assert (doubt.kind, doubt.object_index, doubt.twin_index) == ("doubled", 0, 1)
    assert doubt.score == pytest.approx(36 / 44, abs=1e-6)
    assert doubts(twice, [(CAT, 0.8, HERE), (CAT, 0.7, shifted(HERE, 4))]) == []
    assert doubts([(CAT, HERE), (DOG, HERE)], [(CAT, 0.8, HERE), (DOG, 0.7, HERE)]) == []


def test_a_class_has_a_threshold_of_its_own() -> None:
    """Of few objects it is that of all classes together."""
    images = {n: record(n, [(CAT, AWAY), *([(DOG, HERE)] if n < 3 else [])]) for n in range(1, 11)}
    search = LabelSearch(images)
    for n in images:
        search.add(n, detections([(CAT, 0.3, AWAY), (DOG, 0.9, HERE)]))
    scores = search.confident_scores()
    assert scores[CAT] == pytest.approx(0.3, abs=1e-6)
    assert scores[DOG] == pytest.approx(0.3, abs=1e-6)


class Oracle(Detector):
    """Finds what it is told, by file name."""

    batch_size = 2
    num_classes = 3

    def __init__(self, answers: dict[str, Detections]) -> None:
        self.categories = (Category(CAT, "cat"), Category(DOG, "=dog"))
        self._answers = answers

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        return [self._answers[Path(str(image)).name] for image in images]


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DataSource, dict[str, Any]]:
    """Six drawn images with a cat each, and odd ids; gives the truth too."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    made = make_dataset(tmp_path, num_images={"train": 6}, image_size_hw=(200, 200))
    content = json.loads(made.json_files["train"].read_text())
    content["categories"] = [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "=dog"}]
    content["annotations"] = [
        {"id": 500 + n, "image_id": f"image {n}", "category_id": CAT, "bbox": [*HERE], "iscrowd": 0}
        for n in range(6)
    ]
    for n, image in enumerate(content["images"]):
        image["id"] = f"image {n}"
    made.json_files["train"].write_text(json.dumps(content))
    source = DataSource(
        image_dir=str(made.image_dirs["train"]), json_file=(str(made.json_files["train"]),)
    )
    return source, content


def test_the_list_names_file_image_and_annotation(labelled, tmp_path: Path) -> None:
    """By the ids of the file, though the set numbers images anew; no cell acts as a formula."""
    source, content = labelled
    answers = {image["file_name"]: detections([(CAT, USUAL, HERE)]) for image in content["images"]}
    answers["000002.jpg"] = detections([(DOG, 0.9, HERE), (CAT, 0.95, AWAY)])
    told: list[str] = []
    noise = find_label_noise(
        Oracle(answers),
        {"train": [source], "val": []},
        DatasetConfig(),
        observers=[lambda event: told.append(event.kind)],
    )
    assert noise.counts == {"missing": 1, "class": 1, "box": 0, "spurious": 0, "doubled": 0}
    assert "step" in told
    path = write_label_noise(tmp_path, noise, {"checkpoint": "model.pth"})
    written = json.loads(path.read_text())
    assert (written["checkpoint"], written["images"], written["objects"]) == ("model.pth", 6, 6)
    missing, wrong = written["findings"]
    assert missing["score"] >= wrong["score"]
    assert wrong | {"kind": "class", "image_id": "image 2", "annotation_id": 502} == wrong
    assert wrong | {"class": "cat", "suggested_class": "=dog", "bbox": [*HERE]} == wrong
    assert missing | {"image": "000002.jpg", "annotation_id": None, "bbox": None} == missing
    assert missing["suggested_bbox"] == [*AWAY]
    assert missing["file"] == source.json_file[0]
    rows = list(csv.DictReader((tmp_path / "label_noise.csv").open()))
    assert [row["kind"] for row in rows] == ["missing", "class"]
    assert rows[1]["suggested_class"] == "'=dog"
