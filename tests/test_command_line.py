"""The command line from end to end: a tiny set, a tiny model, every subtask after the other."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ddetr_cli.app import main
from ddetr_data.synthetic import make_dataset
from ddetr_model import load_checkpoint

CLASSES = 3
SPEC = """
results_dir: FOLDER/results
dataset:
  train_data_sources:
    - image_dir: FOLDER/data/images/train
      json_file: FOLDER/data/annotations/instances_train.json
  val_data_sources:
    - image_dir: FOLDER/data/images/val
      json_file: FOLDER/data/annotations/instances_val.json
  test_data_sources: ${dataset.val_data_sources[0]}
  infer_data_sources: {image_dir: FOLDER/data/images/val}
  num_classes: auto
  batch_size: 2
  workers: 0
  augmentation:
    scales: [64]
    random_resize_max_size: 96
    train_random_resize: [64]
    train_random_crop_min: 48
    train_random_crop_max: 64
    test_random_resize: 64
model:
  backbone: timm:resnet10t
  num_feature_levels: 2
  return_interm_indices: [1, 2]
  hidden_dim: 32
  nheads: 2
  enc_layers: 1
  dec_layers: 1
  dim_feedforward: 32
  num_queries: 12
train: {num_epochs: 2, checkpoint_interval: 5, optim: {lr: 0.001}}
evaluate:
  checkpoint: FOLDER/results/train/dd_model_latest.pth
  input_height: 64
  input_width: 96
inference:
  checkpoint: FOLDER/results/train/dd_model_latest.pth
  conf_threshold: 0.0
export:
  checkpoint: FOLDER/results/train/dd_model_latest.pth
  onnx_file: FOLDER/results/export/model.onnx
  input_height: 64
  input_width: 96
"""
KITTI_LINE = re.compile(r"\S+( -?\d+(\.\d+)?){15}")


def ddetr(*arguments: str) -> int:
    """Run the command in this process and give its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def last_status(folder: Path) -> dict[str, object]:
    lines = (folder / "status.json").read_text().splitlines()
    parsed: dict[str, object] = [json.loads(line) for line in lines][-1]
    return parsed


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a spec, and what training for two epochs left."""
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("project")
    make_dataset(
        folder / "data",
        num_images={"train": 4, "val": 3},
        image_size_hw=(64, 96),
        num_classes=CLASSES,
    )
    (folder / "spec.yaml").write_text(SPEC.replace("FOLDER", str(folder)))
    assert ddetr("train", "-e", str(folder / "spec.yaml")) == 0
    return folder


def test_training_leaves_its_checkpoints_and_says_success(project: Path) -> None:
    """Latest, best and the last epoch's file; the last line of status.json has the scores."""
    results = project / "results" / "train"
    names = {path.name for path in results.glob("*.pth")}
    assert names == {"dd_model_latest.pth", "dd_model_best.pth", "model_epoch_001.pth"}
    end = last_status(results)
    assert end["status"] == "SUCCESS"
    assert {"val_AP", "val_AP50", "train_loss"} <= set(end["kpi"])  # type: ignore[arg-type]


def test_a_finished_training_says_that_nothing_is_left(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again trains no further, and leaves the record of what has trained."""
    folder = project / "results" / "train"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert ddetr("train", "-e", str(project / "spec.yaml"), "dataset.workers=1") == 0
    assert "nothing is left to train" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (folder / "report.html").unlink()
    assert ddetr("train", "-e", str(project / "spec.yaml")) == 0
    assert (folder / "report.html").read_bytes() == before[folder / "report.html"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_an_interrupted_training_can_go_on(project: Path, number: int, tmp_path: Path) -> None:
    """Exit status 130, INTERRUPTED as the last line, and a checkpoint that loads."""
    results = tmp_path / "train"
    options = ["-e", str(project / "spec.yaml"), f"results_dir={tmp_path}", "train.num_epochs=900"]
    command = [sys.executable, "-m", "ddetr_cli", "train", *options]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while training.poll() is None and not (results / "dd_model_latest.pth").exists():
        time.sleep(0.1)
    training.send_signal(number)
    assert training.wait(timeout=60) == 130
    assert last_status(results)["status"] == "INTERRUPTED"
    assert load_checkpoint(results / "dd_model_latest.pth").config.num_queries == 12


def test_evaluation_shows_and_keeps_the_scores(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve figures and each class, on the console and in results.json."""
    assert ddetr("evaluate", "-e", str(project / "spec.yaml")) == 0
    out = capsys.readouterr().out
    assert "COCO scores" in out
    assert "circle" in out
    results = json.loads((project / "results" / "evaluate" / "results.json").read_text())
    assert len(results["overall"]) == 12
    assert len(results["per_class"]) == CLASSES
    assert (project / "results" / "evaluate" / "detections.json").exists()


def test_inference_writes_labels_and_annotated_images(project: Path) -> None:
    """A label file of 16 KITTI columns and an annotated image for each image."""
    colour = "inference.color_map.circle=red"
    assert ddetr("inference", "-e", str(project / "spec.yaml"), colour) == 0
    results = project / "results" / "inference"
    labels = sorted((results / "labels").glob("*.txt"))
    assert len(labels) == len(list((results / "images_annotated").glob("*.jpg"))) == 3
    lines = [line for path in labels for line in path.read_text().splitlines()]
    assert lines
    assert all(KITTI_LINE.fullmatch(line) for line in lines)


@pytest.fixture(scope="module")
def onnx_file(project: Path) -> Path:
    """The exported model."""
    assert ddetr("export", "-e", str(project / "spec.yaml")) == 0
    return project / "results" / "export" / "model.onnx"


def test_export_measures_ap_on_the_labelled_images(onnx_file: Path) -> None:
    """Beside the file: AP of PyTorch and of ONNX Runtime on the spec's validation images."""
    certificate = json.loads(onnx_file.with_name("model.certificate.json").read_text())
    assert [score["images"] for score in certificate["scores"]] == [3, 3]
    pytorch, onnx = (score["AP"] for score in certificate["scores"])
    assert math.isclose(pytorch, onnx, abs_tol=0.005)


def test_an_export_that_differs_is_exit_status_one(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The sentence names the first module that diverges, and no file gets the name."""
    checkpoint = project / "beyond_fp16.pth"
    content = torch.load(project / "results" / "train" / "dd_model_latest.pth", weights_only=True)
    layer = "model.transformer.decoder.layers.0"
    content["state_dict"][f"{layer}.linear1.weight"] *= 1e-9  # which half precision takes for 0
    content["state_dict"][f"{layer}.linear2.weight"] *= 1e11
    torch.save(content, checkpoint)
    target = project / "damaged" / "model.onnx"
    options = [f"export.onnx_file={target}", f"export.results_dir={project}/damaged_run"]
    options += [f"export.checkpoint={checkpoint}", "export.precision=fp16"]
    assert ddetr("export", "-e", str(project / "spec.yaml"), *options) == 1
    assert "first in transformer.decoder.layers.0" in capfd.readouterr().err
    assert not target.exists()
    assert last_status(project / "damaged_run")["status"] == "FAILURE"


def test_an_onnx_file_scores_like_its_checkpoint_without_torch(
    project: Path, onnx_file: Path
) -> None:
    """A process that cannot import torch gives the same twelve figures."""
    assert ddetr("evaluate", "-e", str(project / "spec.yaml")) == 0
    code = "import sys; sys.modules['torch'] = None; from ddetr_cli.app import main; main()"
    own = f"evaluate.results_dir={project}/onnx"
    options = ["-e", str(project / "spec.yaml"), f"evaluate.checkpoint={onnx_file}", own]
    command = [sys.executable, "-c", code, "evaluate", *options]
    assert subprocess.run(command, check=False).returncode == 0
    ours, theirs = (
        json.loads((folder / "results.json").read_text())["overall"]
        for folder in (project / "onnx", project / "results" / "evaluate")
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value == theirs[name] or math.isclose(value, theirs[name], abs_tol=0.005)


def test_an_onnx_file_labels_images_under_a_classmaps_names(project: Path, onnx_file: Path) -> None:
    """The classmap's names stand in the label files; a wrong number of names is refused."""
    names = project / "names.txt"
    names.write_text("disc\nbox\nwedge\n")
    options = [
        *("-e", str(project / "spec.yaml"), f"inference.checkpoint={onnx_file}"),
        *(f"dataset.infer_data_sources.classmap={names}", "results_dir=" + str(project / "named")),
    ]
    assert ddetr("inference", *options) == 0
    labels = (project / "named" / "inference" / "labels").glob("*.txt")
    found = {line.split()[0] for path in labels for line in path.read_text().splitlines()}
    assert found & {"disc", "box", "wedge"}
    assert not found & {"circle", "square", "triangle"}
    names.write_text("disc\nbox\n")
    assert ddetr("inference", *options) == 2


def test_an_exported_file_is_not_overwritten_unasked(
    project: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names the option that would."""
    before = onnx_file.read_bytes()
    assert ddetr("export", "-e", str(project / "spec.yaml")) == 2
    assert "export.overwrite=true" in capsys.readouterr().err
    assert onnx_file.read_bytes() == before


WRONG_INPUTS = [
    ("evaluate", "evaluate.checkpoint=FOLDER/spec.pth", 2, "spec.pth"),
    ("evaluate", "dataset.eval_class_ids=[77]", 2, "77"),
    ("inference", "inference.color_map.circle=reddish", 2, "reddish"),
    ("train", "dataset.num_classes=2", 2, "num_classes"),
    ("train", "train.freeze=[backbon]", 2, "backbone"),
]


@pytest.mark.parametrize(("task", "override", "status", "part"), WRONG_INPUTS)
def test_what_only_the_engine_can_see_is_one_sentence_too(
    project: Path,
    task: str,
    override: str,
    status: int,
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Data, checkpoint and options that do not fit: exit status 2 and no traceback."""
    (project / "spec.pth").write_text("no checkpoint")
    folder = project / "wrong"
    options = ["-e", str(project / "spec.yaml"), override.replace("FOLDER", str(project))]
    assert ddetr(task, *options, f"results_dir={folder}") == status
    shown = capsys.readouterr().err
    assert part in shown
    assert "Traceback" not in shown
    assert not folder.exists()


def test_a_dumped_experiment_runs_again(project: Path) -> None:
    """experiment.yaml of a run is a spec like any other, and dumps to itself."""
    first = project / "results" / "evaluate" / "experiment.yaml"
    if not first.exists():
        assert ddetr("evaluate", "-e", str(project / "spec.yaml")) == 0
    before = first.read_text()
    assert ddetr("evaluate", "-e", str(first)) == 0
    assert first.read_text() == before


def test_kitti_labels_are_converted_and_train(project: Path) -> None:
    """The page's flat spec turns KITTI folders into shards that training reads."""
    sequence = project / "kitti_set"
    (sequence / "images").mkdir(parents=True)
    (sequence / "labels").mkdir()
    for image in (project / "data" / "images" / "train").glob("*.jpg"):
        (sequence / "images" / image.name).write_bytes(image.read_bytes())
        label = project / "data" / "kitti" / "train" / "label_2" / f"{image.stem}.txt"
        (sequence / "labels" / label.name).write_bytes(label.read_bytes())
    names = ("circle", "square", "triangle")
    (project / "mapping.json").write_text(json.dumps({name: name for name in names}))
    (project / "sequence.txt").write_text(f"{sequence}\n")
    (project / "convert.yaml").write_text(
        f"input_source: {project}/sequence.txt\nresults_dir: {project}/shards\n"
        "image_dir_name: images\nlabel_dir_name: labels\nnum_shards: 2\nnum_partitions: 1\n"
        f"mapping_path: {project}/mapping.json\n"
    )
    assert ddetr("model", "deformable_detr", "convert", "-e", str(project / "convert.yaml")) == 0
    shards = sorted((project / "shards").glob("fold-*.json"))
    images = [image for path in shards for image in json.loads(path.read_text())["images"]]
    assert len(images) == 4
    assert last_status(project / "shards")["status"] == "SUCCESS"
    source = f"dataset.train_data_sources={{image_dir: {sequence}, json_file: {project}/shards}}"
    others = ("dataset.val_data_sources=null", "dataset.test_data_sources=null")
    assert ddetr("check", "-e", str(project / "spec.yaml"), source, *others) < 2
