"""Code of one's own runs where the command line names it, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddetr_cli.app import main

MODULE = """
calls = []


def invert(image, boxes_xyxy, labels, rng):
    calls.append(len(labels))
    return 255 - image, boxes_xyxy, labels


def outside(image, boxes_xyxy, labels, rng):
    return image, boxes_xyxy + 1000, labels


number = 3
"""
NAME = "own_code_of_a_test"


def ddetr(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The current folder has a module; what imports it is undone."""
    (tmp_path / f"{NAME}.py").write_text(MODULE, "utf-8")
    (tmp_path / "unfit.py").write_text("raise RuntimeError('no')", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop(NAME, None)


@pytest.mark.usefixtures("module")
def test_a_run_uses_it_and_says_so_and_its_record_cannot(
    tiny_spec: Path, tmp_path: Path, capsys: Any
) -> None:
    """A notice names it; the spec that is left behind does not, and is refused on a resume."""
    code = f"{NAME}:invert"
    assert ddetr("train", "-e", tiny_spec, "--allow-code", code, "train.num_epochs=1") == 0
    assert sys.modules[NAME].calls
    sys.modules[NAME].calls.clear()
    folder = tmp_path / "results" / "train"
    assert f"code of one's own, {code}, changes" in (folder / "status.json").read_text("utf-8")
    assert NAME not in (folder / "experiment.yaml").read_text("utf-8")
    capsys.readouterr()
    assert ddetr("train", "-e", folder / "experiment.yaml", "train.num_epochs=2") == 2
    err = " ".join(capsys.readouterr().err.split())
    assert f"dataset.transform is {code} there and None here" in err
    assert "--allow-code" in err
    assert not sys.modules[NAME].calls
    again = ("train", "-e", folder / "experiment.yaml", "train.num_epochs=2", "--allow-code", code)
    assert ddetr(*again) == 0


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("invert", "takes MODULE:FUNCTION"),
        ("os.path:", "takes MODULE:FUNCTION"),
        ("a-b:c", "takes MODULE:FUNCTION"),
        ("no_such_module_here:f", "there is no module no_such_module_here, neither installed"),
        ("unfit:f", "unfit cannot be imported (RuntimeError: no)"),
        (f"{NAME}:inverted", "has no function inverted; did you mean invert?"),
        (f"{NAME}:number", "has something that cannot be called as number"),
    ],
)
def test_a_bad_name_is_one_sentence(tiny_spec: Path, capsys: Any, code: str, sentence: str) -> None:
    """Exit status 2, before data are read, and no folder is made."""
    assert ddetr("train", "-e", tiny_spec, "--allow-code", code) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert sentence in err
    assert "Traceback" not in err
    assert not (tiny_spec.parent / "results").exists()


@pytest.mark.usefixtures("module")
def test_what_it_gives_wrongly_is_one_sentence(tiny_spec: Path, capsys: Any) -> None:
    """Function, image and fault; exit status 2."""
    assert ddetr("train", "-e", tiny_spec, "--allow-code", f"{NAME}:outside") == 2
    err = " ".join(capsys.readouterr().err.split())
    assert f"the transform {NAME}:outside gave for" in err
    assert "within 64 x 64 pixels" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("key", ["allow_code", "train.allow_code", "dataset.transform"])
def test_no_spec_names_code(tiny_spec: Path, capsys: Any, key: str) -> None:
    """There is no such key, in a file or as an override."""
    assert ddetr("train", "-e", tiny_spec, f"{key}={NAME}:invert") == 2
    assert "unknown key" in capsys.readouterr().err
    block, _, name = key.rpartition(".")
    values = yaml.safe_load(tiny_spec.read_text("utf-8"))
    (values[block] if block else values)[name] = f"{NAME}:invert"
    tiny_spec.write_text(yaml.safe_dump(values), "utf-8")
    assert ddetr("train", "-e", tiny_spec) == 2
    assert "unknown key" in capsys.readouterr().err
    assert NAME not in sys.modules


@pytest.mark.usefixtures("module")
def test_serve_runs_no_code(tmp_path: Path, capsys: Any) -> None:
    """Said before the model is looked for."""
    assert ddetr("serve", tmp_path / "model.onnx", "--allow-code", f"{NAME}:invert") == 2
    assert "a server runs nobody's code" in capsys.readouterr().err


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("command", ["evaluate", "inference", "export", "plan", "replay"])
def test_no_other_command_takes_it(tiny_spec: Path, capsys: Any, command: str) -> None:
    """A file of a run is looked at without the code of the run."""
    words = [tiny_spec] if command == "replay" else ["-e", tiny_spec]
    assert ddetr(command, *words, "--allow-code", f"{NAME}:invert") == 2
    assert "--allow-code" in capsys.readouterr().err
    assert NAME not in sys.modules
