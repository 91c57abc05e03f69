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
    return write_tiny_spec(tmp_path, {"train": 6})


@pytest.fixture(scope="module")
def wait_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on six drawn images, and two to validate it on."""
    return write_tiny_spec(tmp_path_factory.mktemp("spec"), {"train": 6, "val": 2})


def write_tiny_spec(folder: Path, num_images: dict[str, int]) -> Path:
    """Draw images and write the spec of a training with them."""
    make_dataset(folder / "data", num_images=num_images, image_size_hw=(64, 64), num_classes=2)
    sources = ", ".join(
        f"{split}_data_sources: [{{image_dir: {folder}/data/images/{split}, "
        f"json_file: {folder}/data/annotations/instances_{split}.json}}]"
        for split in num_images
    )
    path = folder / "spec.yaml"
    path.write_text(
        f"results_dir: {folder}/results\nmodel: {MODEL}\n"
        f"dataset: {{{sources}, num_classes: 3, batch_size: 2, workers: 0, "
        f"augmentation: {AUGMENTATION}}}\n"
        "train: {num_epochs: 3, accelerator: cpu, activation_checkpoint: false}\n"
    )
    return path
