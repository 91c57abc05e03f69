"""`ddetr compare A B`: scores, intervals, keys; and one sentence for what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.report import compare_runs, read_scored_run
from ddetr_cli.spec import Experiment, load_tree, spec_yaml, tree_of_values
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.detection import write_results
from ddetr_data.scoring import CocoScorer
from ddetr_data.synthetic import make_dataset
from ddetr_train import VALIDATION_FOLDER

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images, five for training and six to score on."""
    folder = tmp_path_factory.mktemp("data")
    counts = {"train": 5, "val": 6}
    make_dataset(folder, num_images=counts, image_size_hw=(64, 64), num_classes=2)
    return folder


@pytest.fixture
def make_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write the folder of an evaluation, or of a training, that shifts each box by some pixels."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))

    def write(
        name: str,
        shift: float = 0.0,
        *,
        split: str = "val",
        is_training: bool = False,
        epochs: int = 3,
        classes: list[int] | None = None,
    ) -> Path:
        folder = tmp_path / name
        source = {
            "image_dir": data / "images" / split,
            "json_file": data / "annotations" / f"instances_{split}.json",
        }
        sources = {"val_data_sources" if is_training else "test_data_sources": [source]}
        values = {
            "results_dir": tmp_path,
            "dataset": {**sources, "eval_class_ids": classes},
            "train": {"num_epochs": epochs},
            "encryption_key": "open sesame",
        }
        folder.mkdir()
        spec = load_tree(Experiment, tree_of_values(values, "test")).spec
        (folder / "experiment.yaml").write_text(spec_yaml(spec))
        scored = folder / VALIDATION_FOLDER if is_training else folder
        score(DataSource.model_validate(source), shift, scored, classes)
        if is_training:
            line = {"status": "RUNNING", "epoch": 0, "kpi": {"val_AP": 0.5, "train_loss": 3.0}}
            (folder / "status.json").write_text(json.dumps(line) + "\n")
        return folder

    return write


def score(source: DataSource, shift: float, folder: Path, classes: list[int] | None) -> None:
    """Score the labels themselves, each box moved by more pixels than the one before."""
    labels = load_sources([source], num_classes=None)
    scorer = CocoScorer(labels, category_ids=classes)
    rows, moved = [], 0.0
    for record in labels.images:
        for box, label in zip(record.boxes_xywh.tolist(), record.labels.tolist(), strict=True):
            moved += shift
            left, top, width, height = box
            row = {"image_id": record.id, "category_id": label, "score": 0.99 - 0.01 * len(rows)}
            rows.append({**row, "bbox": [left + moved % 5, top, width, height]})
    scorer.add_results(rows)
    write_results(folder, scorer.score(), scorer.results(), {"max_detections": 100})


def ddetr(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_two_evaluations_are_compared(make_run: Make, tmp_path: Path, capsys) -> None:
    """A table, the sentence with the interval, and a page that stands alone."""
    good, bad = make_run("good"), make_run("bad", 0.7, epochs=4)
    page = tmp_path / "comparison.html"
    assert ddetr("compare", bad, good, "-o", page, "--resamples", 100) == 0
    said = capsys.readouterr()
    assert said.err == ""
    ap = json.loads((bad / "results.json").read_text())["overall"]["AP"]
    assert f"AP {ap:.3f} and 1.000, difference {1 - ap:+.3f}, 95 % interval +" in said.out
    assert "zero lies outside (100 resamples of 6 images)" in said.out
    text = page.read_text("utf-8")
    for shown in (
        "<h1>Comparison</h1>",
        str(good),
        "train.num_epochs",
        "AP of each class",
        " to +",
    ):
        assert shown in text
    assert "<script" not in text
    assert f"ddetr compare {bad} {good} -o {page} --resamples 100</pre>" in text
    comparison = compare_runs(*map(read_scored_run, (bad, good)), resamples=100)
    assert comparison.keys["train.num_epochs"] == ("4", "3")
    assert comparison.overall is not None
    assert comparison.overall.low <= comparison.overall.difference <= comparison.overall.high
    assert set(comparison.per_class) == set(comparison.classes)
    backwards = compare_runs(*map(read_scored_run, (good, bad)), resamples=100)
    assert backwards.overall is not None
    assert backwards.overall.difference == pytest.approx(-comparison.overall.difference)


def test_two_trainings_show_their_curves(make_run: Make, tmp_path: Path, capsys) -> None:
    """By the last validation; the curves of both are drawn."""
    runs = [make_run(name, shift, is_training=True) for name, shift in (("a", 0.4), ("b", 0.5))]
    page = tmp_path / "page.html"
    assert ddetr("compare", *runs, "-o", page, "--resamples", 20) == 0
    assert "(20 resamples of 6 images)" in capsys.readouterr().out
    assert page.read_text("utf-8").count("<svg") == 2


def test_what_has_no_interval_is_told_in_a_sentence(
    make_run: Make, data: Path, tmp_path: Path, capsys
) -> None:
    """Other images, other classes, other limits, labels that are gone or have changed since."""
    first = make_run("first")

    def told(second: Path) -> str:
        assert ddetr("compare", first, second, "-o", tmp_path / "page.html") == 0
        said = capsys.readouterr()
        assert "interval" not in said.out.splitlines()[-2]
        (sentence,) = said.err.splitlines()
        return sentence

    assert "scored on other images: 6 and 5, of which 5" in told(make_run("split", split="train"))
    names = told(make_run("classes", classes=[1]))
    assert "other classes: only A has square, only B has none" in names
    limited = make_run("limited")
    scores = json.loads((limited / "results.json").read_text())
    (limited / "results.json").write_text(json.dumps({**scores, "max_detections": 10}))
    assert "with 100 detections of an image and class, B with 10" in told(limited)
    changed = make_run("changed")
    scores["overall"]["AP"] = 0.25
    (changed / "results.json").write_text(json.dumps(scores))
    assert "have changed since it was scored: its AP was 0.2500 and is 1.0000" in told(changed)
    moved = make_run("moved")
    spec = (moved / "experiment.yaml").read_text()
    (moved / "experiment.yaml").write_text(spec.replace(str(data), "/nowhere"))
    assert "the labels cannot be read: " in told(moved)


def test_a_wrong_folder_is_a_sentence(make_run: Make, tmp_path: Path, capsys) -> None:
    """Exit status 2, and no page."""
    good = make_run("good")
    (tmp_path / "results" / "evaluate").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    bare, cut = (shutil.copytree(good, tmp_path / name) for name in ("bare", "cut"))
    (bare / "experiment.yaml").unlink()
    (cut / "results.json").write_text('{"overall": ')
    odd = shutil.copytree(good, tmp_path / "odd")
    (odd / "results.json").write_text("[]")
    for folder, sentence in (
        (tmp_path / "lost", "does not exist; give the results folder"),
        (good / "results.json", "is no folder; give the results folder"),
        (tmp_path / "results", f"holds no scores; give {tmp_path}/results/evaluate"),
        (tmp_path / "empty", "there is no results.json of `ddetr evaluate`"),
        (bare, "experiment.yaml is missing"),
        (cut, "results.json is damaged"),
        (odd, "is not what `ddetr evaluate` writes"),
    ):
        assert ddetr("compare", good, folder, "-o", tmp_path / "page.html") == 2
        assert sentence in capsys.readouterr().err
    assert ddetr("compare", good, good, "-o", tmp_path / "nowhere" / "page.html") == 2
    assert "must be a file in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
