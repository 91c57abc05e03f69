"""Every door at which two tables of classes meet: in conflict they are refused, or mapped by name.

The model knows 1 circle and 2 square; the labels here say 1 square and 2 circle of the same shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ddetr_cli.app import main
from ddetr_data.files import write_whole
from ddetr_data.synthetic import make_dataset

LABELS = Path("data/annotations/instances_val.json")
TURNED = Path("turned/labels.json")
SPEC = """
results_dir: results
model:
  backbone: timm:test_resnet
  hidden_dim: 32
  enc_layers: 1
  dec_layers: 1
  dim_feedforward: 32
  num_queries: 20
  num_select: 15
dataset:
  train_data_sources: {image_dir: data/images/val, json_file: TRAIN}
  val_data_sources: {image_dir: data/images/val, json_file: VAL}
  test_data_sources: {image_dir: data/images/val, json_file: TEST}
  infer_data_sources: {image_dir: data/images/val, classmap: names.txt}
  num_classes: 3
  batch_size: 2
  workers: 0
  augmentation:
    scales: [64]
    train_random_resize: [64]
    random_resize_max_size: 64
    train_random_crop_min: 48
    train_random_crop_max: 64
    test_random_resize: 64
train: {num_epochs: 1, accelerator: cpu, activation_checkpoint: false, loggers: []}
export: {checkpoint: model.pth, onnx_file: out.onnx, input_height: 64, input_width: 96}
"""
CONVERT = "{format: coco_to_kitti, input_source: turned, data_root: data/images/val}\n"


class Door(NamedTuple):
    """A command at which tables meet."""

    name: str
    command: tuple[str, ...]
    turned: tuple[str, ...]  # sources whose labels have the other ids


DOORS = (
    Door("validation", ("train",), ("VAL",)),
    Door("files of one set", ("train", "dataset.val_data_sources=null"), ("MORE",)),
    Door("first weights", ("train", "train.pretrained_model_path=model.pth"), ("TRAIN", "VAL")),
    Door("evaluate .pth", ("evaluate", "evaluate.checkpoint=model.pth"), ("TEST",)),
    Door("evaluate .onnx", ("evaluate", "evaluate.checkpoint=model.onnx"), ("TEST",)),
    Door("evaluate engine", ("evaluate", "evaluate.trt_engine=model.engine"), ("TEST",)),
    Door("inference", ("inference", "inference.checkpoint=model.pth"), ("NAMES",)),
    Door("export", ("export",), ("VAL",)),
    Door("convert", ("convert",), ()),
    Door("check", ("check",), ("VAL",)),
    Door("check of test", ("check",), ("TEST",)),
    Door("plan", ("plan",), ("VAL",)),
)


def turned(content: dict[str, Any]) -> dict[str, Any]:
    """The same objects, with the two ids exchanged."""
    rows = [{**row, "category_id": 3 - row["category_id"]} for row in content["annotations"]]
    table = [{**row, "id": 3 - row["id"]} for row in content["categories"]]
    return content | {"annotations": rows, "categories": table}


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command of a door in this process; gives exit status and what it says."""
    content = json.loads(LABELS.read_text())
    write_whole(TURNED, json.dumps(turned(content)))
    write_whole(TURNED.with_name("first.json"), json.dumps(content))

    def started(door: Door, *overrides: str, are_turned: bool = True) -> tuple[int, str]:
        marked = door.turned if are_turned else ()
        text = SPEC
        for name in ("TRAIN", "VAL", "TEST"):
            text = text.replace(name, str(TURNED if name in marked else LABELS))
        if "MORE" in marked:
            text = text.replace(f"json_file: {LABELS}", f"json_file: [{LABELS}, {TURNED}]", 1)
        Path("spec.yaml").write_text(CONVERT if door.name == "convert" else text)
        Path("names.txt").write_text(
            "square\ncircle\n" if "NAMES" in marked else "circle\nsquare\n"
        )
        task, *keys = door.command
        with pytest.raises(SystemExit) as ended:
            main([task, "-e", "spec.yaml", *keys, *overrides])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return started


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_conflicts_are_refused_or_mapped(door: Door, run: Callable[..., tuple[int, str]]) -> None:
    """Exit status 2, the first ids, the key that maps, and no results; by name it goes through."""
    # fault 21
    match = "match_classes=name" if door.name == "convert" else "dataset.match_classes=name"
    status, said = run(door)
    assert status == 2
    assert "class names differ: id 1 is '" in said
    assert "match_classes" in said
    assert not Path("results").exists()
    assert not Path("out.onnx").exists()
    where = ["results_dir=results"] if door.name == "convert" else []
    status, said = run(door, match, *where)
    assert status == (1 if door.command[0] == "check" else 0), said
    assert "class names differ" not in said


def test_scores_by_name_are_those_of_the_same_ids(run: Callable[..., tuple[int, str]]) -> None:
    """Of validation in training's report, and of evaluate."""
    # fault 21
    door = DOORS[4]
    results = []
    for are_turned in (False, True):
        status, _ = run(door, "dataset.match_classes=name", are_turned=are_turned)
        assert status == 0
        files = [
            Path("results/evaluate", name).read_text() for name in ("results.json", "report.html")
        ]
        # A report ends with the commands that made it, which are other ones.
        results.append([each.partition("<h2>Commands</h2>")[0] for each in files])
    assert results[0] == results[1]


LOST = ("train", "evaluate", "export", "check", "convert")


@pytest.mark.parametrize("task", LOST)
def test_labels_that_are_lost_stop_every_door(
    task: str, project: Path, run: Callable[..., tuple[int, str]]
) -> None:
    """Boxes as objects: nothing is left, in training, validation and test alike."""
    # fault 26
    content = json.loads(LABELS.read_text())
    for row in content["annotations"]:
        row["bbox"] = dict(zip("xywh", row["bbox"], strict=True))
    write_whole(LABELS, json.dumps(content))
    for path in TURNED.parent.iterdir():
        path.unlink()
    write_whole(TURNED, json.dumps(content))
    keys = {"evaluate": ("evaluate.checkpoint=model.onnx",)}.get(task, ())
    key = "max_dropped=1" if task == "convert" else "dataset.max_dropped=1"
    for overrides in ((), (key,)):
        status, said = run(Door(task, (task, *keys), ()), *overrides)
        assert status == 2
        assert "bbox is not four numbers" in said
        assert not Path("results").exists()
        assert not Path("out.onnx").exists()


def test_scoring_of_no_class_that_is_left_out_stops(
    project: Path, run: Callable[..., tuple[int, str]]
) -> None:
    """With eval_class_ids the losses of other classes do not count."""
    # fault 26
    made = make_dataset(
        "more", num_images={"val": 4}, image_size_hw=(48, 64), num_classes=2, seed=3
    )
    content = json.loads(made.json_files["val"].read_text())
    for row in content["annotations"]:
        row["bbox"] = None if row["category_id"] == 2 else row["bbox"]
    write_whole("lost.json", json.dumps(content))
    door = Door("evaluate", ("evaluate", "evaluate.checkpoint=model.onnx"), ())
    source = "dataset.test_data_sources={image_dir: more/images/val, json_file: lost.json}"
    assert run(door, source, "dataset.eval_class_ids=[2]")[0] == 2
    assert run(door, source, "dataset.eval_class_ids=[1]")[0] == 0
