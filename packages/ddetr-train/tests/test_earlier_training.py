"""A training in a folder where another one was: their files are kept apart, and none is lost."""
# fault 14

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ddetr_train.checkpoints import BEST_NAME, LATEST_NAME, move_aside
from ddetr_train.config import TrainConfig
from ddetr_train.engine import train


@pytest.fixture(scope="module")
def two_epochs(model_config, dataset, tmp_path_factory) -> Path:
    """What a training of two epochs left; it is copied, not changed."""
    folder = tmp_path_factory.mktemp("two_epochs") / "run"
    config = TrainConfig(num_epochs=2, accelerator="cpu", activation_checkpoint=False)
    train(model_config, dataset, config, folder)
    return folder


@pytest.fixture
def folder(two_epochs, tmp_path) -> Path:
    """The folder of run_training, with two epochs behind it."""
    return Path(shutil.copytree(two_epochs, tmp_path / "run"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_validation(dataset):
    return dataset.model_copy(update={"val_data_sources": ()})


def test_a_fresh_start_moves_what_was_there(run_training, recorder, dataset, folder) -> None:
    """Without a validation, too, no file of the earlier training is named as the new one's."""
    (folder / LATEST_NAME).unlink()
    before = contents(folder)
    result = run_training(num_epochs=1, data=without_validation(dataset))
    assert result.best_checkpoint is None
    assert contents(folder / "earlier_1") == before
    assert names(folder) == {LATEST_NAME, "model_epoch_000.pth", "tensorboard", "earlier_1"}
    (notice,) = [e.message for e in recorder.of("notice") if "earlier_1" in e.message]
    assert f"{folder} holds an earlier training but no {LATEST_NAME}" in notice
    assert BEST_NAME in notice
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert len(log.Scalars("step_loss")) == 5
    (folder / LATEST_NAME).unlink()
    run_training(num_epochs=1)
    assert names(folder / "earlier_2") == {"model_epoch_000.pth", "tensorboard"}
    assert names(folder) >= {BEST_NAME, "validation", "earlier_1", "earlier_2"}


@pytest.mark.parametrize(
    "left",
    [
        [BEST_NAME],
        ["model_epoch_001.pth"],
        ["validation"],
        [f"{BEST_NAME}.enc", "model_epoch_000.pth.enc", f"{LATEST_NAME}.enc"],
    ],
    ids=lambda left: left[0],
)
def test_any_weights_or_scores_are_moved(run_training, folder, left) -> None:
    """Whatever of a training somebody has left; what is not a training's stays."""
    for path in folder.iterdir():
        if path.name.removesuffix(".enc") not in {name.removesuffix(".enc") for name in left}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.name not in left:
            path.rename(f"{path}.enc")
    (folder / "notes.txt").write_text("mine")
    (folder / "model.onnx").write_text("mine")
    run_training(num_epochs=1)
    assert names(folder / "earlier_1") == set(left)
    assert names(folder) >= {"notes.txt", "model.onnx", LATEST_NAME}


def test_encrypted_files_are_moved_too(run_training, folder, tmp_path) -> None:
    """They have the names of plain ones."""
    run_training(num_epochs=1, encryption_key="key", results_dir=tmp_path / "locked")
    (tmp_path / "locked" / LATEST_NAME).unlink()
    run_training(num_epochs=1, encryption_key="key", results_dir=tmp_path / "locked")
    assert {BEST_NAME, "model_epoch_000.pth"} <= names(tmp_path / "locked" / "earlier_1")


def test_a_dry_run_and_a_refused_run_move_nothing(run_training, folder) -> None:
    """They leave the folder as it was."""
    (folder / LATEST_NAME).unlink()
    before = contents(folder)
    run_training(is_dry_run=True)
    with pytest.raises(ValueError, match="freeze"):
        run_training(freeze=["backbon"])
    assert contents(folder) == before


def test_an_interrupted_first_epoch_is_no_training_to_keep(run_training, tmp_path) -> None:
    """The start after it begins anew in the same files, and hides what it told TensorBoard."""
    folder = tmp_path / "run"

    def stop(event) -> None:
        if event.kind == "step" and event.step == 3:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_training(num_epochs=1, observers=[stop])
    run_training(num_epochs=1)
    assert "earlier_1" not in names(folder)
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert len(log.Scalars("step_loss")) == 5


def test_a_kill_while_files_are_moved_loses_nothing(run_training, folder, monkeypatch) -> None:
    """The next start moves the rest into the same folder."""
    (folder / LATEST_NAME).unlink()
    before = contents(folder)
    rename, calls = Path.rename, []

    def killed(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run_training(num_epochs=1)
    assert sum(len(content) for content in contents(folder).values()) == sum(
        len(content) for content in before.values()
    )
    run_training(num_epochs=1)
    assert contents(folder / "earlier_1") == before
    assert not [name for name in names(folder) if name.startswith(".")]


def test_moving_can_be_taken_back(folder) -> None:
    """For whoever cannot write afterwards."""
    before = contents(folder)
    _, take_back = move_aside(folder, sorted(folder.iterdir()))
    assert names(folder) == {"earlier_1"}
    take_back()
    assert contents(folder) == before


def test_a_checkpoint_from_elsewhere_begins_a_training_of_its_own(
    run_training, recorder, folder, two_epochs
) -> None:
    """What lies in the folder is not the past of that one."""
    before = contents(folder)
    given = two_epochs / "model_epoch_000.pth"
    result = run_training(num_epochs=2, resume_training_checkpoint_path=given)
    assert contents(folder / "earlier_1") == before
    assert f"{folder} holds another training than that of {given}" in recorder.text()
    assert result.epochs == 2
    assert not (folder / "model_epoch_000.pth").exists()


def test_going_back_keeps_what_came_after(run_training, recorder, folder) -> None:
    """Epochs that are trained anew, and a best one among them, are no part of the new past."""
    best = torch.load(folder / "model_epoch_001.pth", weights_only=True)
    torch.save(best, folder / BEST_NAME)
    given = folder / "model_epoch_000.pth"
    moved = {LATEST_NAME, BEST_NAME, "model_epoch_001.pth", "validation"}
    run_training(num_epochs=2, resume_training_checkpoint_path=given)
    assert names(folder / "earlier_1") == moved
    told = f"{given} (step 5) wins over {folder / LATEST_NAME} (step 10): "
    assert told in recorder.text()
    recorder.events.clear()
    run_training(num_epochs=3)
    assert "earlier_2" not in names(folder)
    assert "wins over" not in recorder.text()


def test_a_latest_file_that_was_put_back_is_told_too(run_training, recorder, folder) -> None:
    """Somebody has copied an earlier epoch's file over it."""
    shutil.copy(folder / "model_epoch_000.pth", folder / LATEST_NAME)
    run_training(num_epochs=2)
    assert "model_epoch_001.pth" in names(folder / "earlier_1")
    assert f"{folder / LATEST_NAME} (step 5) wins over what came after it" in recorder.text()


@pytest.mark.slow
def test_one_of_two_processes_moves_the_files(model_config, dataset, folder, as_ranks) -> None:
    """Once, and both train."""
    (folder / LATEST_NAME).unlink()
    before = contents(folder)
    config = TrainConfig(num_epochs=1, accelerator="cpu")
    assert as_ranks(lambda: train(model_config, dataset, config, folder)) == [0, 0]
    assert contents(folder / "earlier_1") == before
    assert "earlier_2" not in names(folder)
