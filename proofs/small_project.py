"""What the proofs work on: a small set, a spec of a small network, and a small ONNX file."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from proofs.record import ROOT

__all__ = ["SPEC", "ddetr", "environment", "make_project", "write_toy_onnx"]

SPEC = """
results_dir: results
model:
  {backbone: 'timm:test_convnext', num_feature_levels: 2, return_interm_indices: [1, 2],
   hidden_dim: 32, nheads: 4, enc_layers: 1, dec_layers: 1, dim_feedforward: 32, num_queries: 10,
   num_select: 10, dropout_ratio: 0.0}
dataset:
  train_data_sources:
    - {image_dir: data/images/train, json_file: data/annotations/instances_train.json}
  val_data_sources:
    - {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  test_data_sources:
    {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  infer_data_sources: {image_dir: data/images/val}
  num_classes: 4
  batch_size: 2
  workers: 0
  augmentation:
    {scales: [64], train_random_resize: [64], train_random_crop_min: 48,
     train_random_crop_max: 64, random_resize_max_size: 64, test_random_resize: 64}
train: {num_epochs: 1, accelerator: cpu, activation_checkpoint: false}
evaluate: {checkpoint: results/train/dd_model_latest.pth}
inference: {checkpoint: results/train/dd_model_latest.pth, conf_threshold: 0}
export:
  {checkpoint: results/train/dd_model_latest.pth, onnx_file: model.onnx, input_height: 64,
   input_width: 64}
"""
CONVERT_SPEC = """
input_source: data
image_dir_name: images/train
label_dir_name: kitti/train/label_2
mapping_path: mapping.json
results_dir: results/convert
num_shards: 2
workers: 1
"""
TOY_MODEL = ROOT / "packages" / "ddetr-export" / "tests" / "toy_model.py"


def make_project(folder: Path, train: int = 4, val: int = 3) -> None:
    """Write data/, spec.yaml, convert.yaml and mapping.json into a folder."""
    from ddetr_data.synthetic import SHAPES, make_dataset

    counts = {"train": train, "val": val}
    make_dataset(folder / "data", num_images=counts, image_size_hw=(64, 64), num_classes=3)
    (folder / "spec.yaml").write_text(SPEC, "utf-8")
    (folder / "convert.yaml").write_text(CONVERT_SPEC, "utf-8")
    names = ", ".join(f'"{shape.name}": "{shape.name}"' for shape in SHAPES)
    (folder / "mapping.json").write_text(f"{{{names}}}", "utf-8")


def write_toy_onnx(path: Path) -> None:
    """Write the small detector of ddetr-export's tests, sealed as every exported file is."""
    from ddetr_export.onnx import seal, write_metadata

    spec = importlib.util.spec_from_file_location("toy_model", TOY_MODEL)
    assert spec is not None
    assert spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    model = toy.toy_model("batch")
    write_metadata(model, toy.toy_metadata())
    path.write_bytes(seal(model).SerializeToString())


def ddetr(*words: str | Path) -> list[str]:
    """Make a command line of this interpreter's `ddetr`."""
    return [sys.executable, "-m", "ddetr_cli", *(str(word) for word in words)]


def environment(folder: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give variables with which every cache, home and temporary file lies below a folder."""
    folders = {
        "DDETR_CACHE": "cache/ddetr",
        "XDG_CACHE_HOME": "cache",
        "HOME": "home",
        "TMPDIR": "temporary",
    }
    for name in folders.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    own = {variable: str(folder / name) for variable, name in folders.items()}
    fixed = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | own | fixed | (variables or {})
