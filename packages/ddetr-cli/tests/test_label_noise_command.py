"""`ddetr check --with-model`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, load_spec
from ddetr_model.checkpoints import save_checkpoint
from ddetr_model.deformable_detr import DeformableDETR


def ddetr(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture
def checkpoint(tiny_spec: Path, tmp_path: Path) -> Path:
    """A detector with random weights."""
    path = tmp_path / "model.pth"
    config = load_spec(Experiment, tiny_spec, []).spec.model.architecture(num_classes=3)
    save_checkpoint(DeformableDETR(config), path, preprocess={"shortest_edge": 64})
    return path


def test_a_spec_with_a_model(tiny_spec: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    """The list lies beside a report with images; doubts change no exit status."""
    plain = ddetr("check", "-e", tiny_spec)
    assert ddetr("check", "-e", tiny_spec, "--with-model", checkpoint) == plain
    folder = tmp_path / "results" / "check"
    assert f"doubted labels: {folder / 'label_noise.json'}" in capsys.readouterr().out
    written = json.loads((folder / "label_noise.json").read_text())
    assert written["images"] == 6
    assert sum(written["counts"].values()) == len(written["findings"])
    page = (folder / "report.html").read_text()
    assert "Doubted labels" in page
    shown = min(len(written["findings"]), 24)
    assert page.count("data:image/jpeg") >= bool(shown)
    assert (folder / "label_noise.csv").read_text().count("\n") == 1 + len(written["findings"])


def test_a_set_without_a_spec(tiny_spec: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    """With --json - nothing but the findings is on standard output."""
    data = tmp_path / "data"
    words = ("--images", data / "images/train")
    words += ("--annotations", data / "annotations/instances_train.json")
    target = tmp_path / "here"
    status = ddetr("check", *words, "--with-model", checkpoint, "--report", target, "--json", "-")
    assert json.loads(capsys.readouterr().out)["exit_status"] == status
    assert (target / "report.html").is_file()


def test_what_is_no_model(tiny_spec: Path, tmp_path: Path, capsys) -> None:
    """Named by the option, with exit status 2, and nothing written."""
    assert ddetr("check", "-e", tiny_spec, "--with-model", tmp_path / "none.pth") == 2
    assert "--with-model" in capsys.readouterr().err
    assert ddetr("check", "-e", tiny_spec, "--with-model", tiny_spec) == 2
    assert "--with-model must end in" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
