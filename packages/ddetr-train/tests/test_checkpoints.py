"""The files of a run: which there are, and what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.detection import RunEvent
from ddetr_data.synthetic import SyntheticDataset
from ddetr_model.checkpoints import load_checkpoint, read_metadata
from ddetr_train.checkpoints import BEST_NAME, LATEST_NAME

LIGHTNING_KEYS = {
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "hyper_parameters",
    "loops",
    "callbacks",
}


@pytest.fixture
def short(dataset: DatasetConfig, synthetic: SyntheticDataset) -> DatasetConfig:
    """One step an epoch."""
    source = DataSource(
        image_dir=str(synthetic.image_dirs["one"]), json_file=str(synthetic.json_files["one"])
    )
    return dataset.model_copy(
        update={"train_data_sources": (source,), "val_data_sources": (source,)}
    )


def epochs_on_disk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model_epoch_*.pth"))


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [0, 1, 2, 3]),
        ({"checkpoint_interval": 2}, [1, 3]),
        ({"checkpoint_interval": 3}, [2, 3]),
        ({"checkpoint_interval": 9}, [3]),
        ({"keep_last_checkpoints": 2}, [2, 3]),
    ],
)
def test_files_follow_the_interval_and_the_last_is_kept(
    run_training, short, tmp_path, options, epochs
) -> None:
    """Zero-based epochs with three digits; latest and best are always there."""
    run_training(data=short, num_epochs=4, **options)
    folder = tmp_path / "run"
    assert epochs_on_disk(folder) == [f"model_epoch_{epoch:03d}.pth" for epoch in epochs]
    assert {path.name for path in folder.glob("*.pth")} >= {LATEST_NAME, BEST_NAME}
    assert [path for path in folder.iterdir() if path.is_symlink() or path.suffix == ".part"] == []


def test_the_latest_file_is_real_and_loads_after_every_epoch(run_training, short, tmp_path) -> None:
    """Also long before the first interval; files that no other name is kept of are no news."""
    epochs = []

    def load(event: RunEvent) -> None:
        if event.kind == "checkpoint":
            path = tmp_path / "run" / LATEST_NAME
            assert path.is_file()
            assert not path.is_symlink()
            epochs.append(torch.load(path, weights_only=True)["epoch"])
            assert event.is_routine == (event.message == f"saved {LATEST_NAME}")

    run_training(data=short, num_epochs=3, checkpoint_interval=5, observers=[load])
    assert epochs == [0, 1, 2]


def test_a_checkpoint_is_lightnings_and_ours(run_training, short, model_config, dataset) -> None:
    """It has Lightning's keys, and all that evaluation and export need."""
    path = run_training(data=short, num_epochs=1).latest_checkpoint
    stored = torch.load(path, weights_only=True)
    assert stored.keys() >= LIGHTNING_KEYS
    metadata = read_metadata(path)
    assert metadata.model_config_ == model_config
    assert [category["id"] for category in metadata.categories] == [1, 2, 3]
    assert metadata.preprocess["shortest_edge"] == dataset.augmentation.test_random_resize
    assert metadata.metrics.keys() >= {"train_loss", "val_loss", "val_AP"}
    assert load_checkpoint(path).config == model_config


def test_the_best_file_is_that_of_the_best_epoch(run_training, short, tmp_path) -> None:
    """A later epoch that is no better leaves it alone."""
    still = {"lr": 1e-12, "lr_backbone": 0, "lr_linear_proj_mult": 1e-3}
    run_training(data=short, num_epochs=3, optim=still)
    assert torch.load(tmp_path / "run" / BEST_NAME, weights_only=True)["epoch"] == 0


def test_a_run_is_encrypted_from_end_to_end(run_training, short, tmp_path) -> None:
    """Every checkpoint is locked, resumes with the key, and with no other."""
    run_training(data=short, num_epochs=1, encryption_key="right")
    for path in (tmp_path / "run").glob("*.pth"):
        assert path.read_bytes().startswith(b"DDETRENC")
    with pytest.raises(ValueError, match="another one was used"):
        run_training(data=short, num_epochs=2, encryption_key="wrong")
    assert run_training(data=short, num_epochs=2, encryption_key="right").epochs == 2
    texts = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(b"right" in text for text in texts)
