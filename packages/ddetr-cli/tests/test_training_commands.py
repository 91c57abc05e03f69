"""`ddetr plan` and `ddetr replay`: what a training will take, and why one stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddetr_cli.app import main
from ddetr_cli.commands.train import what_is_left
from ddetr_train import TrainConfig
from ddetr_train.checkpoints import AtomicCheckpointIO


def ddetr(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    return int(ended.value.code or 0)


def test_a_plan_shows_steps_memory_and_disk(tiny_spec: Path, capsys, tmp_path) -> None:
    """Nothing is trained, and no results folder is made."""
    assert ddetr("plan", "-e", tiny_spec, "train.batch_size=3") == 0
    out = capsys.readouterr().out
    assert "steps: 2 an epoch, 6 in all" in out
    assert "memory: " in out
    assert "disk: " in out
    assert not (tmp_path / "results").exists()


def test_a_plan_that_cannot_fit_is_refused(tiny_spec: Path, capsys) -> None:
    """More pixels than any machine holds: one sentence, exit status 2."""
    sizes = ["scales=[20000]", "random_resize_max_size=40000"]
    overrides = [f"dataset.augmentation.{value}" for value in sizes]
    assert ddetr("plan", "-e", tiny_spec, "train.batch_size=4096", *overrides) == 2
    assert "lower dataset.batch_size" in capsys.readouterr().err


def test_a_plan_with_a_wrong_spec_is_one_sentence(tiny_spec: Path, capsys) -> None:
    """A missing file and a bad batch size are named, exit status 2."""
    assert ddetr("plan", "-e", tiny_spec, "train.batch_size=0") == 2
    assert "train.batch_size" in capsys.readouterr().err
    assert ddetr("plan", "-e", tiny_spec, "train.pretrained_model_path=lost.pth") == 2
    assert "lost.pth" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_key_that_the_counted_classes_exclude(command: str, tiny_spec: Path, capsys) -> None:
    """The number of classes is known when the data has been read; the sentence says which it is."""
    queries = ["model.num_queries=9", "model.num_select=300"]
    assert ddetr(command, "-e", tiny_spec, "dataset.num_classes=auto", *queries) == 2
    said = capsys.readouterr().err
    assert "model.num_select must be 1 to num_queries x num_classes" in said
    assert "dataset.num_classes: auto is " in said


def test_a_run_that_met_nan_is_replayed(tiny_spec: Path, capsys, tmp_path, monkeypatch) -> None:
    """The run says what was bad and how to look again; the replay is 1 while it is bad, else 0."""
    start = tmp_path / "start"
    assert ddetr("train", "-e", tiny_spec, "train.num_epochs=1", f"results_dir={start}") == 0
    weights = start / "train" / "dd_model_latest.pth"
    content = torch.load(weights, weights_only=True)
    content["state_dict"]["model.input_proj.0.0.weight"][0] = torch.nan
    torch.save(content, weights)
    assert ddetr("train", "-e", tiny_spec, f"train.pretrained_model_path={weights}") == 1
    err = capsys.readouterr().err
    (evidence,) = (tmp_path / "results" / "train").glob("nan_*.pt")
    assert f"ddetr replay {evidence}" in err
    assert ddetr("replay", evidence) == 1
    out = capsys.readouterr().out
    assert out.count("the weight input_proj.0.0.weight") == 2
    assert str(tmp_path / "data" / "images") in out
    repaired = torch.load(evidence, weights_only=True)
    repaired["state_dict"]["input_proj.0.0.weight"][0] = 0.0
    torch.save(repaired, evidence)
    assert ddetr("replay", evidence) == 0
    assert "all is finite" in capsys.readouterr().out


def test_after_ctrl_c_a_training_says_where_it_goes_on(tmp_path: Path) -> None:
    """From the latest checkpoint, from a given one again, or from the beginning."""
    latest, given = tmp_path / "dd_model_latest.pth", tmp_path / "model_epoch_000.pth"
    fresh = TrainConfig()
    assert what_is_left(fresh, tmp_path).startswith("there is no checkpoint")
    latest.touch()
    assert what_is_left(fresh, tmp_path) == f"the same command continues from {latest}"
    again = TrainConfig(resume_training_checkpoint_path=given)
    assert what_is_left(again, tmp_path).startswith(f"the same command begins again from {given}")
    assert what_is_left(TrainConfig(is_dry_run=True), tmp_path).startswith("there is no")


def test_what_cannot_be_replayed_is_one_sentence(tmp_path, capsys) -> None:
    """A missing file and a file of another kind: exit status 2."""
    assert ddetr("replay", tmp_path / "lost.pt") == 2
    assert "lost.pt" in capsys.readouterr().err
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    assert ddetr("replay", tmp_path / "other.pt") == 2
    assert "no step to replay" in capsys.readouterr().err


def test_an_empty_key_is_none_for_a_replay(tmp_path, capsys, monkeypatch) -> None:
    """It is not a key that another one was used for."""
    AtomicCheckpointIO("secret").save_checkpoint({}, tmp_path / "nan.pt")
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "")
    assert ddetr("replay", tmp_path / "nan.pt") == 2
    err = capsys.readouterr().err
    assert "is encrypted" in err
    assert "another one" not in err


@pytest.mark.slow
def test_a_sampler_without_effect_is_told(
    tiny_spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the key that gives it one."""
    # fault 48
    keys = ["dataset.train_sampler=uniform_sampler", "train.num_epochs=1"]
    for more, is_told in ([], True), (["dataset.dataset_type=default"], False):
        with pytest.raises(SystemExit) as ended:
            main(["plan", "-e", str(tiny_spec), *keys, *more])
        assert not ended.value.code
        told = "uniform_sampler has no effect with dataset.dataset_type serialized"
        assert (told in capsys.readouterr().err) == is_told
