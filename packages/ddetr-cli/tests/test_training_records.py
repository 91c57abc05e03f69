"""What a training's folder tells of it: experiment.yaml, status.json, the report, the notices."""
# faults 14 to 16

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ddetr_cli.app import main
from ddetr_cli.report.history import read_history
from ddetr_train.checkpoints import BEST_NAME, LATEST_NAME

Start = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "train"


@pytest.fixture
def train(tiny_spec: Path) -> Start:
    """Run `ddetr train` with these overrides and give its exit status."""

    def run(*overrides: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["train", "-e", str(tiny_spec), "train.loggers=[]", *overrides])
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def validated(tiny_spec: Path) -> None:
    """Let the spec have validation data: the training images."""
    spec = yaml.safe_load(tiny_spec.read_text())
    spec["dataset"]["val_data_sources"] = spec["dataset"]["train_data_sources"]
    tiny_spec.write_text(yaml.safe_dump(spec))


def spec_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "experiment.yaml").read_text())
    return found


def messages(folder: Path) -> list[str]:
    lines = (folder / "status.json").read_text().splitlines()
    return [json.loads(line)["message"] for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_fresh_start_keeps_the_record_of_before_apart(
    train: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that the earlier training left is in earlier_1, and the new record speaks of the new."""
    assert train("train.seed=5") == 0
    (folder / LATEST_NAME).unlink()
    (folder / BEST_NAME).write_text("the best one of before")
    before = contents(folder)
    assert train("train.num_epochs=1") == 0
    captured = capsys.readouterr()
    assert f"are in {folder / 'earlier_1'} now" in captured.err
    assert "best checkpoint" not in captured.out
    assert contents(folder / "earlier_1") == before
    assert spec_of(folder)["train"]["seed"] == 1234
    assert messages(folder)[0] == "train starts"
    assert sum(str(folder / "earlier_1") in text for text in messages(folder)) == 1
    assert set(read_history(folder / "status.json")["train_loss"]) == {0}
    assert "earlier_1" not in (folder / "report.html").read_text()


def test_a_record_that_cannot_be_opened_moves_nothing(
    train: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the folder stays as it was."""
    assert train() == 0
    (folder / LATEST_NAME).unlink()
    before = contents(folder)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "experiment.yaml")

    monkeypatch.setattr("ddetr_cli.running.record.write_whole", full)
    assert train() == 2
    assert contents(folder) == before


def test_the_record_of_a_resume_has_what_ran(
    train: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old rate while it is kept, also in the third start; the new one when it is asked for."""
    wish = ("train.optim.lr=0.003", "train.warmup_steps=9", "train.clip_grad_norm=0.7")
    assert train("train.num_epochs=1") == 0
    for epochs in (2, 3):
        capsys.readouterr()
        assert train(f"train.num_epochs={epochs}", *wish) == 0
        told = capsys.readouterr().err
        assert told.count("train.optim.lr 0.0002 (not 0.003), train.warmup_steps 0 (not 9)") == 1
        assert ("train.clip_grad_norm was 0.1 and is 0.7" in told) == (epochs == 2)
        ran = spec_of(folder)["train"]
        kept = torch.load(folder / LATEST_NAME, weights_only=True)["hyper_parameters"]["train"]
        for options in (ran, kept):
            assert (options["optim"]["lr"], options["warmup_steps"]) == (2e-4, 0)
            assert options["clip_grad_norm"] == 0.7
    assert train("train.num_epochs=4", "train.resume_optim=new", *wish) == 0
    told = capsys.readouterr().err
    assert "train.optim.lr was 0.0002 and is 0.003 from here on" in told
    assert "train.warmup_steps was 0 and is 9 from here on" in told
    assert spec_of(folder)["train"]["optim"]["lr"] == 0.003
    assert train("train.num_epochs=5", *wish) == 0
    assert "train.optim" not in capsys.readouterr().err


def test_the_record_can_be_run_again(train: Start, folder: Path, tmp_path: Path) -> None:
    """It has the keys of a spec and nothing else."""
    assert train("train.num_epochs=1") == 0
    assert train("train.num_epochs=2", "train.optim.lr=0.003") == 0
    with pytest.raises(SystemExit) as ended:
        main(["plan", "-e", str(folder / "experiment.yaml")])
    assert not ended.value.code


def test_a_finished_training_keeps_its_record_where_the_report_is_made_anew(
    train: Start, folder: Path
) -> None:
    """What it ran with, not what was asked for now."""
    assert train() == 0
    (folder / "report.html").unlink()
    assert train("train.optim.lr=0.003", "train.clip_grad_norm=9", "train.num_epochs=1") == 0
    ran = spec_of(folder)["train"]
    assert (ran["optim"]["lr"], ran["clip_grad_norm"], ran["num_epochs"]) == (2e-4, 0.1, 3)
    assert (folder / "report.html").is_file()


@pytest.mark.usefixtures("validated")
def test_early_stopping_is_in_the_record_and_happens_once(
    train: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in the log and the status; the same command then says one sentence."""
    stop = ("train.num_epochs=8", "train.early_stopping_patience=1", "train.optim.lr=1e-12")
    still = ("train.optim.lr_backbone=0",)
    assert train(*stop, *still) == 0
    assert "stopped early after epoch 1" in capsys.readouterr().err
    assert any("stopped early after epoch 1" in text for text in messages(folder))
    assert "stopped early after epoch 1" in (folder / "run.log").read_text()
    before = contents(folder)
    assert train(*stop, *still) == 0
    (notice,) = [line for line in capsys.readouterr().err.splitlines() if "notice: " in line]
    assert "raise train.early_stopping_patience or train.num_epochs to go on" in notice
    assert contents(folder) == before
    assert train(*stop[:1], "train.early_stopping_patience=2", *stop[2:], *still) == 0
    assert "stopped early after epoch 2" in capsys.readouterr().err


def test_a_history_forgets_what_is_trained_anew(tmp_path: Path) -> None:
    """A start from an earlier epoch counts from there; one that trains nothing forgets nothing."""

    def line(status: str, epoch: int | None = None, **kpi: float) -> str:
        return json.dumps({"status": status, "epoch": epoch, "kpi": kpi, "message": ""})

    path = tmp_path / "status.json"
    lines = [line("STARTED"), *(line("RUNNING", epoch, train_loss=9.0) for epoch in range(4))]
    lines += [line("STARTED"), line("FAILURE")]
    path.write_text("\n".join(lines))
    assert read_history(path)["train_loss"] == dict.fromkeys(range(4), 9.0)
    lines += [line("STARTED"), line("RUNNING", 1), line("RUNNING", 2, train_loss=1.0)]
    path.write_text("\n".join(lines))
    assert read_history(path)["train_loss"] == {0: 9.0, 1: 9.0, 2: 1.0}
