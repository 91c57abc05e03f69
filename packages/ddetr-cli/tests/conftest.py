"""Specs on disk for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.synthetic import make_dataset

MODEL = (
    "{backbone: 'timm:test_convnext', num_feature_levels: 2, return_interm_indices: [1, 2], "
    "hidden_dim: 32, enc_layers: 1, dec_layers: 1, dim_feedforward: 32, num_queries: 10, "
    "num_select: 10}"
)
AUGMENTATION = (
    "{scales: [64], train_random_resize: [64], train_random_crop_min: 48, "
    "train_random_crop_max: 64, random_resize_max_size: 64, test_random_resize: 64}"
)

Load = Callable[..., Experiment]


@pytest.fixture(autouse=True)
def _no_key_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDETR_ENCRYPTION_KEY", raising=False)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a text as spec.yaml and load it with overrides."""

    def load_text(text: str = "", overrides: Sequence[str] = ()) -> Experiment:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(Experiment, path, overrides).spec

    return load_text


@pytest.fixture
def tiny_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model on six drawn images."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    make_dataset(tmp_path / "data", num_images={"train": 6}, image_size_hw=(64, 64), num_classes=2)
    source = (
        f"{{image_dir: {tmp_path}/data/images/train, "
        f"json_file: {tmp_path}/data/annotations/instances_train.json}}"
    )
    path = tmp_path / "spec.yaml"
    path.write_text(
        f"results_dir: {tmp_path}/results\nmodel: {MODEL}\n"
        f"dataset: {{train_data_sources: [{source}], num_classes: 3, batch_size: 2, workers: 0, "
        f"augmentation: {AUGMENTATION}}}\n"
        "train: {num_epochs: 3, accelerator: cpu, activation_checkpoint: false}\n"
    )
    return path
