"""Write tests/compatibility/VERSION: files of today that every later version must read.

    python scripts/compatibility_files.py

Run it once for a version, before its release, and again only for a version with a new format: a
folder that is there is never written again. The files come from the command `ddetr` and from
`save_checkpoint`, of a network whose weights are small in number or repeat themselves, so that
they compress well. `expected.json` says what the network finds in the one image.
"""

from __future__ import annotations

import json
import lzma
import math
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddetr_cli import __version__
from ddetr_cli.app import main as ddetr
from ddetr_data import Detections
from ddetr_data.files import encrypting
from ddetr_data.synthetic import make_dataset
from ddetr_export import open_detector as open_onnx
from ddetr_model import DeformableDETR, ModelConfig, save_checkpoint
from ddetr_train import open_detector

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "tests" / "compatibility" / __version__
IMAGE = "data/images/val/000000.png"
SIZE_HW = (48, 64)
PASSPHRASE, LOCKED_TEXT = "open sesame", b"read with the passphrase"
SPEC = """results_dir: results
model:
  backbone: resnet_50
  num_feature_levels: 1
  return_interm_indices: [1]
  hidden_dim: 32
  nheads: 4
  enc_layers: 1
  dec_layers: 1
  dim_feedforward: 32
  num_queries: 10
  num_select: 5
  train_backbone: false
dataset:
  train_data_sources:
    - {image_dir: data/images/train, json_file: data/annotations/instances_train.json}
  val_data_sources:
    - {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  num_classes: 3
  batch_size: 1
  workers: 0
  augmentation:
    scales: [48]
    train_random_resize: [48]
    train_random_crop_min: 32
    train_random_crop_max: 48
    random_resize_max_size: 64
    test_random_resize: 48
train:
  num_epochs: 1
  accelerator: cpu
  loggers: []
export: {checkpoint: model.pth, onnx_file: model.onnx, input_height: 48, input_width: 64}
"""
PERIOD = 251  # numbers that a backbone's weights repeat
SIGNIFICANT_BITS = 8  # of every other weight, and of the state of its optimiser


def main() -> None:
    """Make the files in a folder of their own, check them, and keep them."""
    if TARGET.exists():
        sys.exit(f"{TARGET} is there: files that were given out are not written again")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["DDETR_CACHE"] = str(Path(folder) / "cache")
        make_files()
        expected = what_is_found()
        keep(Path(folder), expected)


def make_files() -> None:
    """Fill the current folder: data, spec, checkpoint, training state, ONNX, Hugging Face."""
    made = {"num_images": {"train": 2, "val": 1}, "num_classes": 2, "image_format": "png"}
    make_dataset("data", image_size_hw=SIZE_HW, **made)
    Path("spec.yaml").write_text(SPEC, "utf-8")
    save_checkpoint(
        simple_network(),
        "model.pth",
        categories=[{"id": 1, "name": "circle"}, {"id": 2, "name": "square"}],
        preprocess={"mode": "fixed", "height": SIZE_HW[0], "width": SIZE_HW[1]},
        metrics={"val_AP": 0.5},
    )
    run("train", "-e", "spec.yaml", "train.pretrained_model_path=model.pth")
    state = Path("results/train/dd_model_latest.pth")
    torch.save(rounded(torch.load(state, weights_only=True)), "training_state.pth")
    shutil.copy("results/train/experiment.yaml", "experiment.yaml")
    run("export", "-e", "spec.yaml")
    run("import", "model.pth", "-o", "huggingface", "--to", "huggingface")
    with Path("locked.enc").open("wb") as file, encrypting(file, PASSPHRASE) as target:
        target.write(LOCKED_TEXT)


def run(*words: str) -> None:
    """Run a command of `ddetr`, which must end well."""
    try:
        ddetr(words)
    except SystemExit as ended:
        if ended.code:
            raise


def simple_network() -> DeformableDETR:
    """Build the network of SPEC, with weights that compress and still look at the image."""
    torch.manual_seed(0)
    block = {"backbone": "resnet_50", "num_feature_levels": 1, "return_interm_indices": (1,)}
    sizes = {"hidden_dim": 32, "nheads": 4, "enc_layers": 1, "dec_layers": 1}
    others = {"dim_feedforward": 32, "num_queries": 10, "num_select": 5, "num_classes": 3}
    network = DeformableDETR(ModelConfig(**block, **sizes, **others, train_backbone=False))
    repeated = torch.randn(PERIOD)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("backbone.") and weight.ndim == 4:
                copies = math.ceil(weight.numel() / PERIOD)
                values = repeated.repeat(copies)[: weight.numel()].reshape(weight.shape)
                weight.copy_(values * math.sqrt(2 / weight[0].numel()))
            elif not name.startswith("backbone."):
                weight += 0.05 * torch.randn_like(weight)
            weight.copy_(rounded(weight))
    return network


def rounded(value: Any) -> Any:
    """Give the same nested value, with tensors of floats rounded to a few bits."""
    if isinstance(value, Tensor) and value.is_floating_point():
        fraction, exponent = torch.frexp(value)
        steps = 2**SIGNIFICANT_BITS
        return torch.ldexp(torch.round(fraction * steps) / steps, exponent)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(rounded(each) for each in value)
    return value


def what_is_found() -> dict[str, Any]:
    """Detect in the image, with PyTorch and with ONNX Runtime, which must agree."""
    found = {
        "model": open_detector("model.pth").predict([IMAGE])[0],
        "training_state": open_detector("training_state.pth").predict([IMAGE])[0],
    }
    onnx = as_lists(open_onnx("model.onnx").predict([IMAGE])[0])
    torch.testing.assert_close(onnx, as_lists(found["model"]), atol=1e-3, rtol=0)
    return {
        "image": IMAGE,
        "passphrase": PASSPHRASE,
        "locked_text": LOCKED_TEXT.decode(),
        **{name: as_lists(each) for name, each in found.items()},
        "made_with": {
            "commit": last_commit(),
            **{name: version(name) for name in ("torch", "onnxruntime", "safetensors")},
        },
    }


def as_lists(found: Detections) -> dict[str, list[Any]]:
    """Give detections as JSON holds them."""
    columns = (found.boxes_xyxy, found.scores, found.labels)
    return dict(zip(("boxes_xyxy", "scores", "labels"), map(list_of, columns), strict=True))


def list_of(column: Any) -> list[Any]:
    """Give an array's rows, with numbers that are read easily."""
    return [
        [round(value, 4) for value in row] if isinstance(row, list) else round(row, 6)
        for row in column.tolist()
    ]


def last_commit() -> str:
    """Name the commit that the packages' sources are of; there must be nothing beyond it."""
    sources = [str(path) for path in ROOT.glob("packages/*/src")]
    git = ["git", "-C", str(ROOT)]
    changed = subprocess.check_output([*git, "status", "--porcelain", "--", *sources], text=True)
    if changed:
        sys.exit(f"the packages have changes that are not committed:\n{changed}")
    newest = [*git, "log", "-1", "--format=%h", "--", *sources]
    return subprocess.check_output(newest, text=True).strip()


def keep(folder: Path, expected: dict[str, Any]) -> None:
    """Copy what is to be read later, files of tensors as .xz, and say what they hold."""
    TARGET.mkdir(parents=True)
    for name in ("spec.yaml", "experiment.yaml", "locked.enc"):
        shutil.copy(folder / name, TARGET / name)
    unused = shutil.ignore_patterns("kitti", "classmap.txt")
    shutil.copytree(folder / "data", TARGET / "data", ignore=unused)
    shutil.copytree(folder / "huggingface", TARGET / "huggingface")
    for name in ("model.pth", "training_state.pth", "model.onnx"):
        shutil.copy(folder / name, TARGET / name)
    for path in [*TARGET.rglob("*.pth"), *TARGET.rglob("*.onnx"), *TARGET.rglob("*.safetensors")]:
        path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
        path.unlink()
    text = json.dumps(expected, indent=1)
    (TARGET / "expected.json").write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
