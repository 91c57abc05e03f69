"""The commands that only look and tell: migrate, check, summary, import, doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddetr_cli.answer import answer
from ddetr_cli.app import main
from ddetr_cli.commands.migrate import RENAMED
from ddetr_cli.schema import known_keys
from ddetr_cli.spec import Experiment
from ddetr_data.synthetic import make_dataset


def ddetr(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_migration_tells_the_fate_of_every_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept, renamed, without effect, unknown with the nearest; unknown keys give 2."""
    spec = tmp_path / "old.yaml"
    spec.write_text(
        "model: {pretrained_model_path: a, num_classes: 3}\n"
        "train: {optim: {lr: 1, monitor_name: val_loss}, num_epoch: 3}\n"
        "dataset: {test_data_sources: {image_dir: a, json_file: b}}\n"
        "inference: {color_map: {car: red}}\n"
        "export: {gpu_id: 0}\n"
    )
    assert ddetr("migrate", "-e", str(spec)) == 2
    fates = {
        line.split()[0]: " ".join(line.split()[2:])
        for line in capsys.readouterr().out.splitlines()
        if "old.yaml:" in line
    }
    assert len(fates) == 9
    assert fates["train.optim.lr"] == fates["inference.color_map.car"] == "kept"
    assert fates["dataset.test_data_sources.image_dir"] == "kept"
    assert fates["model.pretrained_model_path"].startswith("renamed: model.pretrained_backbone")
    assert fates["train.optim.monitor_name"].startswith("renamed: train.optim.lr_monitor")
    assert fates["export.gpu_id"].startswith("without effect")
    assert fates["train.num_epoch"] == "unknown; perhaps train.num_epochs"
    assert fates["model.num_classes"] == "unknown; perhaps dataset.num_classes"


def test_new_names_of_renamed_keys_exist() -> None:
    """The table points at keys of this version."""
    assert set(RENAMED.values()) <= {path for path, _ in known_keys(Experiment)}


@pytest.fixture
def data_spec(tmp_path: Path) -> Path:
    """A spec of a small drawn set."""
    make_dataset(tmp_path / "data", num_images={"train": 3}, image_size_hw=(64, 64), num_classes=2)
    spec = tmp_path / "spec.yaml"
    source = f"{{image_dir: {tmp_path}/data/images/train, json_file: {tmp_path}/data/annotations}}"
    spec.write_text(f"dataset: {{train_data_sources: [{source}], num_classes: 3, workers: 1}}\n")
    return spec


def test_clean_data_have_no_findings(data_spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 and the counts."""
    assert ddetr("check", "-e", str(data_spec)) == 0
    assert "3 images" in capsys.readouterr().out


def test_faults_are_listed_with_file_and_place(
    data_spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing image is an error, in the table and in the JSON file."""
    next((tmp_path / "data" / "images" / "train").glob("*.jpg")).unlink()
    findings = tmp_path / "findings.json"
    assert ddetr("check", "-e", str(data_spec), "--json", str(findings)) == 2
    assert "error" in capsys.readouterr().out
    assert json.loads(findings.read_text())["exit_status"] == 2


def test_a_spec_without_labelled_data_has_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the key to set."""
    (tmp_path / "spec.yaml").write_text("")
    assert ddetr("check", "-e", str(tmp_path / "spec.yaml")) == 2
    assert "dataset.train_data_sources" in capsys.readouterr().err


@pytest.mark.slow
def test_a_summary_counts_by_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters and operations of the spec's own model."""
    (tmp_path / "spec.yaml").write_text("model: {hidden_dim: 32, nheads: 2, enc_layers: 1}")
    options = ["--height", "128", "--width", "128", "model.dec_layers=1"]
    assert ddetr("summary", "-e", str(tmp_path / "spec.yaml"), *options) == 0
    assert "transformer.encoder" in capsys.readouterr().out


@pytest.mark.slow
def test_an_import_does_not_overwrite_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are exit status 2 with the path."""
    target = tmp_path / "ours.pth"
    assert ddetr("import", str(tmp_path / "theirs.pth"), str(target)) == 2
    assert "theirs.pth" in capsys.readouterr().err
    target.write_text("")
    assert ddetr("import", str(tmp_path / "theirs.pth"), str(target)) == 2
    assert "ours.pth exists" in capsys.readouterr().err


@pytest.mark.slow
def test_the_doctor_shows_versions_and_tests_the_kernels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every package of ours is in the table."""
    assert ddetr("doctor") == 0
    out = capsys.readouterr().out
    assert "ddetr-export" in out
    assert "GPUs" in out


def test_a_fault_of_the_program_is_not_dressed_up() -> None:
    """Without a results folder the traceback belongs on the screen; Ctrl+C is still 130."""

    def fail(_: object) -> int:
        raise RuntimeError("odd")

    def stop(_: object) -> int:
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="odd"):
        answer(fail)
    assert answer(stop) == 130
