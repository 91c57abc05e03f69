"""Every subtask, refused for a reason that is found late: its results folder is as it was.

A row names what is wrong, and a part of the sentence that says so.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from ddetr_cli.app import main
from ddetr_cli.commands.table import COMMANDS
from ddetr_cli.running import Subtask
from ddetr_data.synthetic import make_dataset
from ddetr_export.onnx import seal
from ddetr_train.process import LOCK_NAME

SPEC = """
model:
  backbone: timm:test_resnet
  hidden_dim: 32
  enc_layers: 1
  dec_layers: 1
  dim_feedforward: 32
  num_queries: 20
  num_select: 15
dataset:
  train_data_sources: &data
    - {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  test_data_sources: *data
  infer_data_sources: {image_dir: data/images/val}
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
evaluate: {checkpoint: model.pth}
inference: {checkpoint: model.pth}
export: {checkpoint: model.pth, onnx_file: out.onnx}
gen_trt_engine: {onnx_file: model.onnx, trt_engine: out.engine}
"""
CONVERT = """
input_source: data/kitti/val
image_dir_name: ../../images/val
label_dir_name: label_2
mapping_path: mapping.json
"""
# Enough of a folder that another run has finished; its files say what must stay.
FINISHED = {
    "experiment.yaml": "results_dir: elsewhere\n",
    "status.json": '{"status": "SUCCESS"}\n',
    "run.log": "all went well\n",
    "report.html": "<html></html>\n",
    "results.json": "{}\n",
    "classmap.txt": "circle\n",
}


class Refusal(NamedTuple):
    """One command that cannot run."""

    task: str
    overrides: tuple[str, ...]
    sentence: str


def refusal(task: str, sentence: str, *overrides: str) -> Refusal:
    return Refusal(task, overrides, sentence)


REFUSALS = {
    "train, a class beyond the model": refusal("train", "num_classes", "dataset.num_classes=2"),
    "train, labels that are none": refusal(
        "train", "broken.json", "dataset.train_data_sources.0.json_file=broken.json"
    ),
    "train, options that clash": refusal(
        "train", "early_stopping_patience", "train.early_stopping_patience=3"
    ),
    "train, no such module": refusal("train", "backbon", "train.freeze=[backbon]"),
    "train, weights that are none": refusal(
        "train", "broken.pth", "train.pretrained_model_path=broken.pth"
    ),
    "train, a library that is missing": refusal(
        "train", "ddetr-cli[mlflow]", "train.loggers=[mlflow]"
    ),
    "train, machines that nobody started": refusal("train", "num_nodes", "train.num_nodes=2"),
    "train, a checkpoint without its state": refusal(
        "train", "no training state", "train.resume_training_checkpoint_path=model.pth"
    ),
    "train, no room on the disk": refusal("train", "checkpoints need", "train.num_epochs=10000000"),
    "train, no room in memory": refusal(
        "train",
        "lower dataset.batch_size",
        "dataset.augmentation.scales=[20000]",
        "dataset.augmentation.random_resize_max_size=40000",
        "train.batch_size=4096",
    ),
    "evaluate, a detector that is none": refusal(
        "evaluate", "broken.pth", "evaluate.checkpoint=broken.pth"
    ),
    "evaluate, an ONNX file that is none": refusal(
        "evaluate", "broken.onnx", "evaluate.checkpoint=broken.onnx"
    ),
    "evaluate, another key": refusal(
        "evaluate", "key", "evaluate.checkpoint=model.onnx.enc", "encryption_key=wrong"
    ),
    "evaluate, labels that are none": refusal(
        "evaluate", "broken.json", "dataset.test_data_sources.0.json_file=broken.json"
    ),
    "evaluate, a class beyond the model": refusal(
        "evaluate", "num_classes", "dataset.test_data_sources.0.json_file=many.json"
    ),
    "evaluate, no such class": refusal("evaluate", "77", "dataset.eval_class_ids=[77]"),
    "inference, a detector that is none": refusal(
        "inference", "broken.pth", "inference.checkpoint=broken.pth"
    ),
    "inference, a colour that is none": refusal(
        "inference", "reddish", "inference.color_map.circle=reddish"
    ),
    "inference, another number of names": refusal(
        "inference", "names.txt", "dataset.infer_data_sources.classmap=names.txt"
    ),
    "inference, no image": refusal(
        "inference", "empty", "dataset.infer_data_sources.image_dir=empty"
    ),
    "export, a checkpoint that is none": refusal(
        "export", "broken.pth", "export.checkpoint=broken.pth"
    ),
    "export, labels of other classes": refusal(
        "export", "category ids up to 9", "dataset.test_data_sources.0.json_file=many.json"
    ),
    "export, no image to check with": refusal(
        "export", "empty", "export.check_image_dir=empty", "export.score_images=0"
    ),
    "export, a plugin file that is none": refusal(
        "export", "broken.onnx", "--to-standard", "export.onnx_file=broken.onnx"
    ),
    "export, a plugin file without a plugin": refusal(
        "export", "standard already", "--to-standard", "export.onnx_file=model.onnx"
    ),
    "gen_trt_engine, a file that is none": refusal(
        "gen_trt_engine", "broken.onnx", "gen_trt_engine.onnx_file=broken.onnx"
    ),
    "gen_trt_engine, a batch that the file has not": refusal(
        "gen_trt_engine", "batch_size", "gen_trt_engine.onnx_file=fixed.onnx"
    ),
    "convert, something to drop": refusal("convert", "strict", "strict=true"),
    "convert, a table that is none": refusal("convert", "broken.json", "mapping_path=broken.json"),
    "convert, no label": refusal("convert", "empty", "input_source=empty"),
}


@pytest.fixture(scope="module")
def project(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A current folder with the models, labelled images, and files that are not what they seem."""
    folder = tmp_path_factory.mktemp("refused")
    shutil.copytree(models, folder, dirs_exist_ok=True)
    made = make_dataset(
        folder / "data", num_images={"val": 3}, image_size_hw=(48, 64), num_classes=2
    )
    many = json.loads(made.json_files["val"].read_text())
    many["categories"].append({"id": 9, "name": "star"})
    many["annotations"][0]["category_id"] = 9
    (folder / "many.json").write_text(json.dumps(many))
    fixed = onnx.load(folder / "model.onnx")
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(seal(fixed), folder / "fixed.onnx")
    for name in ("broken.json", "broken.pth", "broken.onnx"):
        (folder / name).write_text("neither this nor that")
    (folder / "names.txt").write_text("a\nb\nc\nd\n")
    (folder / "mapping.json").write_text('{"circle": "circle"}')
    (folder / "empty").mkdir()
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "convert.yaml").write_text(CONVERT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DDETR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(sys.modules, "mlflow", None)
        yield folder


def state_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def finished_run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FINISHED.items():
        (folder / name).write_text(text)


def refuse(row: Refusal, results_dir: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command; it must end with exit status 2 and one sentence, which is given."""
    spec = "convert.yaml" if row.task == "convert" else "spec.yaml"
    with pytest.raises(SystemExit) as ended:
        main([row.task, "-e", spec, f"results_dir={results_dir}", *row.overrides])
    errors = capsys.readouterr().err
    assert ended.value.code == 2, errors
    said = [line for line in errors.splitlines() if not line.startswith(("notice: ", "warning: "))]
    assert len(said) == 1, errors
    assert said[0].startswith("ddetr: ")
    assert row.sentence in said[0]
    return said[0]


@pytest.mark.parametrize("is_there", [True, False], ids=["finished run", "no folder"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_command_leaves_everything_as_it_was(
    name: str,
    is_there: bool,
    project: Path,
    says_what_to_do: Callable[[str], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The finished run's folder byte for byte; a folder that is not there stays away."""
    row = REFUSALS[name]
    results = "results" if is_there else "absent/results"
    if is_there:
        finished_run(project / results / ("" if row.task == "convert" else row.task))
    before = state_of(project)
    sentence = refuse(row, results, capsys)
    assert says_what_to_do(sentence), sentence
    assert state_of(project) == before
    assert not (project / "absent").exists()


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
file.write("process 1 on another machine")
file.flush()
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_in_use_stays_as_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second training is told who works there."""
    folder = project / "held" / "train"
    finished_run(folder)
    command = [sys.executable, "-c", HOLD, str(folder / LOCK_NAME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        before = state_of(project)
        refuse(refusal("train", "in use by another training (process 1"), "held", capsys)
        assert state_of(project) == before


def test_every_subtask_has_rows() -> None:
    """A subtask that is new must say for what it is refused."""
    modules = [importlib.import_module(f"ddetr_cli.commands.{each.module}") for each in COMMANDS]
    subtasks = {
        value.name
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Subtask)
    }
    assert subtasks == {row.task for row in REFUSALS.values()}
