"""Which checkpoint a training goes on from, and what must not have changed since."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from ddetr_model import DeformableDETR, LossConfig
from ddetr_train import GroupNames
from ddetr_train.checkpoints import LATEST_NAME, ResumeError
from ddetr_train.config import TrainConfig
from ddetr_train.engine import train


@pytest.fixture(scope="module")
def one_epoch(model_config, dataset, tmp_path_factory) -> Path:
    """What a training of one epoch left; it is copied, not changed."""
    folder = tmp_path_factory.mktemp("one_epoch") / "run"
    config = TrainConfig(num_epochs=1, accelerator="cpu", activation_checkpoint=False)
    train(model_config, dataset, config, folder)
    return folder


@pytest.fixture
def after_one_epoch(one_epoch, tmp_path) -> Path:
    """The folder of run_training, with one epoch behind it."""
    return Path(shutil.copytree(one_epoch, tmp_path / "run"))


def test_an_empty_folder_starts_at_the_first_epoch(run_training, recorder) -> None:
    """Nothing to resume is no error."""
    run_training(num_epochs=1)
    assert recorder.of("step")[0].epoch == 0


def test_the_given_checkpoint_wins_over_the_latest(
    run_training, recorder, after_one_epoch, tmp_path
) -> None:
    """With both present, training goes on from the given one."""
    run_training(num_epochs=2, results_dir=tmp_path / "long")
    recorder.events.clear()
    given = tmp_path / "long" / "model_epoch_001.pth"
    run_training(num_epochs=3, results_dir=after_one_epoch, resume_training_checkpoint_path=given)
    assert {event.epoch for event in recorder.of("step")} == {2}


def test_a_given_checkpoint_behind_the_latest_is_told(run_training, recorder, tmp_path) -> None:
    """It wins all the same, but nobody loses epochs without a word."""
    folder = tmp_path / "run"
    run_training(num_epochs=2, results_dir=folder)
    recorder.events.clear()
    given = folder / "model_epoch_000.pth"
    run_training(num_epochs=3, results_dir=folder, resume_training_checkpoint_path=given)
    told = [event.message for event in recorder.of("notice") if "wins over" in event.message]
    assert len(told) == 1
    assert re.search(
        r"model_epoch_000\.pth \(step 5\) wins over .*latest\.pth \(step 10\)", told[0]
    )
    assert {event.epoch for event in recorder.of("step")} == {1, 2}
    recorder.events.clear()
    given = folder / "model_epoch_002.pth"
    run_training(num_epochs=4, results_dir=folder, resume_training_checkpoint_path=given)
    assert not [event for event in recorder.of("notice") if "wins over" in event.message]


def test_a_missing_checkpoint_to_resume_is_an_error(run_training, tmp_path) -> None:
    """The path is named, and nothing starts anew in silence."""
    with pytest.raises(FileNotFoundError, match="lost"):
        run_training(resume_training_checkpoint_path=tmp_path / "lost.pth")


def test_a_finished_run_says_so(run_training, recorder) -> None:
    """Starting it again trains nothing and tells what to raise."""
    first = run_training(num_epochs=1)
    recorder.events.clear()
    again = run_training(num_epochs=1)
    assert recorder.of("step") == []
    assert "raise train.num_epochs" in recorder.text("finished")
    assert again.metrics["train_loss"] == first.metrics["train_loss"]


@pytest.mark.usefixtures("after_one_epoch")
def test_another_architecture_is_refused_by_its_difference(run_training, model_config) -> None:
    """The text names the key and both values."""
    with pytest.raises(ValueError, match=r"model\.dec_layers is 2 there and 1 here"):
        run_training(num_epochs=2, model=model_config.model_copy(update={"dec_layers": 1}))


@pytest.mark.usefixtures("after_one_epoch")
def test_other_losses_are_refused_by_their_difference(run_training) -> None:
    """The name is the key of a spec, whose `model` block holds them."""
    with pytest.raises(ValueError, match=r"model\.aux_loss is True there and False here"):
        run_training(num_epochs=2, losses=LossConfig(aux_loss=False))


@pytest.mark.usefixtures("after_one_epoch")
def test_other_groups_of_parameters_are_refused(run_training) -> None:
    """The optimiser's state is of the groups that the run began with."""
    with pytest.raises(ValueError, match=r"model\.backbone_names is \['backbone\.0'\] there"):
        run_training(num_epochs=2, optim={"backbone_names": ["body"]})


def test_a_checkpoint_of_before_is_continued(run_training, recorder, after_one_epoch) -> None:
    """The first ones hold the losses and the groups' names under `model`; nothing has changed."""
    path = after_one_epoch / LATEST_NAME
    contents = torch.load(path, weights_only=True)
    options = contents["hyper_parameters"]
    names = {key: options["train"]["optim"].pop(key) for key in GroupNames.model_fields}
    block = contents["ddetr"].pop("losses") | names | {"clip_max_norm": 0.1}
    del options["losses"]
    for model in (contents["ddetr"]["model"], options["model"]):
        model |= block
    torch.save(contents, path)
    run_training(num_epochs=2)
    assert {event.epoch for event in recorder.of("step")} == {1}
    assert "changed" not in recorder.text()
    assert "from here on" not in recorder.text()


def test_a_network_has_its_own_losses(run_training, model_config) -> None:
    """Others beside it would be of no effect, so they are refused."""
    network = DeformableDETR(model_config)
    with pytest.raises(ValueError, match="losses goes with a ModelConfig"):
        run_training(model=network, losses=LossConfig(cls_loss_coef=3))


@pytest.mark.usefixtures("after_one_epoch")
def test_other_data_are_refused_by_their_difference(run_training, dataset) -> None:
    """Fewer images or other labels are another run."""
    other = {"train_data_sources": dataset.val_data_sources}
    with pytest.raises(ValueError, match=r"dataset\.images is 10 there and 3 here"):
        run_training(num_epochs=2, data=dataset.model_copy(update=other))


@pytest.mark.usefixtures("after_one_epoch")
def test_other_augmentation_is_refused_by_its_difference(run_training, dataset) -> None:
    """The views of the images are data too."""
    still = dataset.augmentation.model_copy(update={"horizontal_flip_prob": 0.0})
    with pytest.raises(ValueError, match=r"dataset\.augmentation is .*horizontal_flip_prob.: 0\.5"):
        run_training(num_epochs=2, data=dataset.model_copy(update={"augmentation": still}))


@pytest.mark.usefixtures("after_one_epoch")
def test_options_that_shape_the_state_are_refused(run_training) -> None:
    """Another set of frozen modules does not fit the optimiser's state."""
    with pytest.raises(ValueError, match=r"train\.freeze is \[\] there"):
        run_training(num_epochs=2, freeze=["backbone"])


@pytest.mark.usefixtures("after_one_epoch")
def test_an_option_that_a_resume_cannot_change_is_told(run_training, recorder) -> None:
    """A new learning rate is not ignored in silence."""
    run_training(num_epochs=2, optim={"lr": 1e-3})
    assert "train.optim was changed" in recorder.text()


@pytest.mark.usefixtures("after_one_epoch")
def test_an_option_that_changes_from_here_on_is_told(run_training, recorder) -> None:
    """The run goes on with the new value and says that it is another one."""
    run_training(num_epochs=2, clip_grad_norm=1.0)
    assert "train.clip_grad_norm was 0.1 and is 1.0 from here on" in recorder.text()


def test_bare_weights_cannot_be_resumed(run_training, tmp_path) -> None:
    """A file without training state is sent to pretrained_model_path."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match="pretrained_model_path"):
        run_training(resume_training_checkpoint_path=path)


def test_a_damaged_latest_file_names_the_others(run_training, after_one_epoch) -> None:
    """Which one to go on from is the person's choice; the named file works."""
    (after_one_epoch / LATEST_NAME).write_bytes(b"PK damaged")
    other = after_one_epoch / "model_epoch_000.pth"
    words = f"set train.resume_training_checkpoint_path to {other}, or remove the file"
    with pytest.raises(ResumeError, match=re.escape(words)):
        run_training()
    assert run_training(resume_training_checkpoint_path=other).epochs == 2
