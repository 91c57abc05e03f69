"""A pipe or a device instead of a file that is read: named at every door, and none waits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from ddetr_cli.app import main
from ddetr_data.synthetic import make_dataset

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names"),
    pytest.mark.timeout(60),  # one that waits waits for ever
]
SPEC = """
model: {backbone: 'timm:test_resnet', hidden_dim: 32, enc_layers: 1, dec_layers: 1,
  dim_feedforward: 32, num_queries: 20, num_select: 15}
dataset:
  train_data_sources: &data
    - {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  val_data_sources: *data
  test_data_sources: *data
  infer_data_sources: {image_dir: data/images/val, classmap: names.txt}
  num_classes: 3
  batch_size: 2
  workers: 0
  augmentation: {scales: [64], train_random_resize: [64], random_resize_max_size: 64,
    train_random_crop_min: 48, train_random_crop_max: 64, test_random_resize: 64}
train: {num_epochs: 1, accelerator: cpu, activation_checkpoint: false, loggers: []}
evaluate: {checkpoint: model.pth}
inference: {checkpoint: model.pth}
export: {checkpoint: model.pth, onnx_file: out.onnx, score_images: 0}
"""
CONVERT = """
input_source: data/kitti/val
image_dir_name: ../../images/val
label_dir_name: label_2
mapping_path: mapping.json
"""
IMAGE, LABELS = "data/images/val", "data/annotations/instances_val.json"
KITTI = "data/kitti/val/label_2"


class Door(NamedTuple):
    """A command, and the file that it reads of which a pipe is made; of a folder its first."""

    task: str
    file: str
    spec: str = "spec.yaml"
    options: tuple[str, ...] = ()
    exit_status: int = 2
    said: str = ""  # by default the file's name


DOORS = [
    Door("train", "spec.yaml"),  # all specs are read by one function, which waits for a writer
    Door("convert", "convert.yaml", "convert.yaml"),
    *(Door(task, LABELS) for task in ("train", "plan", "evaluate")),
    Door("check", LABELS),
    *(Door(task, IMAGE) for task in ("train", "evaluate")),
    Door("check", IMAGE),
    Door("inference", IMAGE, exit_status=0),
    *(Door(task, "model.pth") for task in ("evaluate", "inference", "export")),
    Door("evaluate", "model.onnx", options=("evaluate.checkpoint=model.onnx",)),
    Door("train", "model.pth", options=("train.pretrained_model_path=model.pth",)),
    Door("train", "model.pth", options=("train.resume_training_checkpoint_path=model.pth",)),
    Door("train", "model.pth", options=("model.pretrained_backbone_path=model.pth",)),
    Door("inference", "names.txt"),
    Door("convert", "mapping.json", "convert.yaml"),
    Door("convert", KITTI, "convert.yaml", exit_status=0, said="malformed_label_file"),
    Door("convert", IMAGE, "convert.yaml", exit_status=0, said="unreadable_image"),
]


@pytest.fixture
def folder(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data, models and specs that would all do."""
    make_dataset(tmp_path / "data", num_images={"val": 3}, image_size_hw=(64, 96), num_classes=2)
    (tmp_path / "mapping.json").write_text('{"circle": "circle"}')
    (tmp_path / "names.txt").write_text("circle\nsquare\n")
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "convert.yaml").write_text(CONVERT)
    for name in ("model.pth", "model.onnx"):
        shutil.copy(models / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.task}-{Path(door.file).name}")
def test_a_pipe_in_the_place_of_a_file_is_named(
    door: Door, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends by itself, and says which file it is, or counts it among others."""
    # fault 12
    file = folder / door.file
    if file.is_dir():
        file = sorted(file.iterdir())[0]
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(SystemExit) as ended:
        main([door.task, "-e", door.spec, f"results_dir={folder}/results", *door.options])
    said = "".join(capsys.readouterr())
    assert (door.said or file.name) in said
    assert int(ended.value.code or 0) == door.exit_status, said
    assert "Traceback" not in said
