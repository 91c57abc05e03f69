"""The HTML report: one file, the figures of status.json and results.json and no others."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_cli.report import (
    bar_chart,
    confusion_chart,
    find_mistakes,
    precision_recall_chart,
    read_detections,
    read_history,
    read_warnings,
    thumbnail,
    write_evaluation_report,
    write_training_report,
)
from ddetr_cli.terminal import StatusFile
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import RunEvent
from ddetr_data.faults import FaultLog
from ddetr_data.images import DrawnBox
from ddetr_data.types import Annotations, Category, ImageRecord
from ddetr_train.config import VALIDATION_FOLDER


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the status file of two epochs, the second of them trained twice."""
    status = StatusFile(tmp_path)
    status.write("STARTED", "train starts")
    for epoch, loss in ((0, 3.0), (1, 2.5), (1, 2.25)):
        metrics = {"train_loss": loss, "val_AP": 0.125, "val_APl": float("nan")}
        status.observe(RunEvent("epoch", epoch=epoch, metrics=metrics))
    status.write("SUCCESS", "train is done", kpi={"train_loss": 9.0})
    return tmp_path


def test_the_history_is_what_status_json_says(trained: Path) -> None:
    """The last word on an epoch counts; figures that do not exist are left out."""
    history = read_history(trained / "status.json")
    assert history == {"train_loss": {0: 3.0, 1: 2.25}, "val_AP": {0: 0.125, 1: 0.125}}


def test_warnings_come_first_and_once(trained: Path) -> None:
    """With their epoch; a start that tells one again does not repeat it."""
    assert read_warnings(trained / "status.json") == []
    assert "Warnings" not in write_training_report(trained).read_text("utf-8")
    early = RunEvent("notice", "set model.num_queries=7", is_warning=True)
    for events in ([early], [early, RunEvent("notice", "lower lr", epoch=3, is_warning=True)]):
        status = StatusFile(trained)
        status.write("STARTED", "train starts")
        for event in [RunEvent("notice", "no GPU"), *events]:
            status.observe(event)
    expected = [(None, "set model.num_queries=7"), (3, "lower lr")]
    assert read_warnings(trained / "status.json") == expected
    text = write_training_report(trained).read_text("utf-8")
    assert text.index("<td>before</td><td>set model.num_queries=7</td>") < text.index("<svg")
    assert "<td>3</td><td>lower lr</td>" in text
    assert "no GPU" not in text


def test_a_training_report_stands_alone(trained: Path) -> None:
    """Curves inside the file, nothing fetched from elsewhere."""
    text = write_training_report(trained).read_text("utf-8")
    assert text.count("<svg") == 2
    assert "<td>2.250</td>" in text
    assert "<script" not in text
    assert 'src="' not in text


def test_many_epochs_are_folded(trained: Path) -> None:
    """What follows the table is in sight without scrolling past a hundred rows."""
    assert "<details>" not in write_training_report(trained).read_text("utf-8")
    status = StatusFile(trained)
    for epoch in range(2, 30):
        status.observe(RunEvent("epoch", epoch=epoch, metrics={"train_loss": 1.0}))
    text = write_training_report(trained).read_text("utf-8")
    assert "<details><summary>30 epochs in figures</summary>" in text


def test_an_evaluation_report_ranks_the_classes(tmp_path: Path) -> None:
    """The best class first; names are escaped; a class without objects has a dash."""
    per_class = {
        "<b>": {"AP": 0.25, "AP50": 0.5},
        "none": {"AP": None, "AP50": None},
        "good": {"AP": 0.75, "AP50": 1.0},
    }
    content = {"checkpoint": "m.pth", "overall": {"AP": 0.5, "APl": None}, "per_class": per_class}
    (tmp_path / "results.json").write_text(json.dumps(content))
    text = write_evaluation_report(tmp_path).read_text("utf-8")
    table = text[text.rindex("<table") :]
    assert table.index("good") < table.index("&lt;b&gt;") < table.index("none")
    assert "<td>-</td>" in table
    assert "<b>" not in text


NAMES = ("<b>cat</b>", "$dog_", "\u72ac")


@pytest.fixture
def judged(tmp_path: Path) -> DetectionSet:
    """Three images, and the files of an evaluation that did well, missed all, and made things up.

    Images 1 and 2 hold a cat and a dog; in image 1 both are found, in image 2 neither. Image 3 has
    no object, and a cat is found in it. The last class does not occur.
    """
    boxes = np.array([[10.0, 10.0, 30.0, 30.0], [50.0, 20.0, 20.0, 40.0]])
    objects = Annotations(boxes, np.array([1, 2]), np.zeros(2, bool), boxes[:, 2:].prod(1))
    records = []
    for number, labels in ((1, objects), (2, objects), (3, Annotations())):
        path = tmp_path / f"<i>{number}.png"
        Image.new("RGB", (100, 80), "white").save(path)
        records.append(ImageRecord(number, path, path.name, 100, 80, labels))
    rows = [
        {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 30], "score": 0.9},
        {"image_id": 1, "category_id": 2, "bbox": [50, 20, 20, 40], "score": 0.8},
        {"image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.95},
    ]
    (tmp_path / "detections.json").write_text(json.dumps(rows))
    per_class = {name: {"AP": 0.5, "AP50": 0.5} for name in NAMES}
    content = {"overall": {"AP": 0.5, "AP50": 0.5}, "per_class": per_class}
    (tmp_path / "results.json").write_text(json.dumps(content))
    categories = tuple(Category(number, name) for number, name in enumerate(NAMES, start=1))
    return DetectionSet(records, categories, FaultLog())


def test_mistakes_by_hand(judged: DetectionSet, tmp_path: Path) -> None:
    """Two missed in one image, one invented in another, and a matrix that says the same."""
    mistakes = find_mistakes(judged, read_detections(tmp_path / "detections.json"))
    counts = [(bad.record.id, bad.missed, bad.invented, bad.confused) for bad in mistakes.worst]
    assert counts == [(2, 2, 0, 0), (3, 0, 1, 0)]
    assert mistakes.confusion.counts.tolist() == [
        [1, 0, 0, 1],
        [0, 1, 0, 1],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    assert mistakes.thresholds["$dog_"].threshold == 0.8
    assert mistakes.thresholds[NAMES[2]].reason == "the data hold no object of it"


def test_of_equal_images_the_lowest_id_is_first(judged: DetectionSet, tmp_path: Path) -> None:
    """Whatever their order in the data; what is right, confused and missed is told apart."""
    judged.images.reverse()
    detections = read_detections(tmp_path / "detections.json")
    detections[1].labels[:] = 2
    mistakes = find_mistakes(judged, detections)
    counts = [(bad.record.id, bad.missed, bad.invented, bad.confused) for bad in mistakes.worst]
    assert counts == [(2, 2, 0, 0), (1, 0, 0, 1), (3, 0, 1, 0)]
    confused = mistakes.worst[1]
    assert confused.is_right.tolist() == confused.is_found.tolist() == [False, True]


def test_only_the_scored_classes_count(judged: DetectionSet, tmp_path: Path) -> None:
    """With eval_class_ids the other classes' objects are neither missed nor invented."""
    mistakes = find_mistakes(judged, read_detections(tmp_path / "detections.json"), [2])
    assert list(mistakes.curves) == ["$dog_"]
    assert [(bad.record.id, bad.missed) for bad in mistakes.worst] == [(2, 1)]


def test_the_page_shows_mistakes_and_needs_no_other_file(
    judged: DetectionSet, tmp_path: Path
) -> None:
    """Charts and images are inside; names of classes and files are escaped, in any script."""
    text = write_evaluation_report(tmp_path, judged).read_text("utf-8")
    for title in ("Precision and recall", "Confusion", "Worst images"):
        assert f"<h2>{title}</h2>" in text
    assert text.count('src="data:image/jpeg;base64,') == text.count('src="') == 4
    assert text.index("<small>found</small>") < text.index("<small>labelled</small>")
    assert "&lt;i&gt;2.png" in text
    assert "2 missed, 0 invented, 0 confused" in text
    assert "<b>cat" not in text
    assert "<i>" not in text
    assert "\u72ac" in text


def test_a_small_image_is_enlarged_so_that_words_fit(judged: DetectionSet, tmp_path: Path) -> None:
    """Four times at most: labels are drawn at their own size, not blown up with the pixels."""
    mistakes = find_mistakes(judged, read_detections(tmp_path / "detections.json"))
    bad = mistakes.worst[0]
    with Image.open(bad.record.path) as original:
        width = original.width
    encoded = thumbnail(bad.record.path, [DrawnBox((5, 5, 30, 30), "red", "dog")]).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as drawn:
        assert drawn.width == min(4 * width, 360)


def test_an_image_that_is_gone_is_said_so(judged: DetectionSet, tmp_path: Path) -> None:
    """The report is written all the same."""
    (tmp_path / "<i>2.png").unlink()
    text = write_evaluation_report(tmp_path, judged).read_text("utf-8")
    assert text.count("data:image/jpeg") == 2
    assert "&lt;i&gt;2.png is missing" in text


def test_a_training_report_shows_the_last_validation(
    trained: Path, judged: DetectionSet, tmp_path: Path
) -> None:
    """The files under validation/ become the same sections as those of an evaluation."""
    folder = trained / VALIDATION_FOLDER
    folder.mkdir()
    for name in ("results.json", "detections.json"):
        (tmp_path / name).rename(folder / name)
    text = write_training_report(trained, judged).read_text("utf-8")
    assert "<h2>Worst images</h2>" in text
    assert "<td>2.250</td>" in text


def test_many_classes_are_drawn_without_numbers() -> None:
    """Eighty classes fit; twelve have their counts written in."""
    few, many = (
        confusion_chart("c", [f"c{i}" for i in range(n)], [[7] * n for _ in range(n)])
        for n in (12, 80)
    )
    assert few.count(">7<") == 144
    assert many.count(">7<") == 0
    curves = {f"c{i}": ([0.0, 1.0], [1.0, 0.0]) for i in range(80)}
    assert ElementTree.fromstring(precision_recall_chart("p", curves)).tag.endswith("svg")


def test_equal_figures_draw_equal_charts() -> None:
    """A chart is well-formed, and depends on its figures alone."""
    first, second = (bar_chart("AP", ["cat"], [0.5]) for _ in range(2))
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert first == second
