"""The README's blocks hold: its Python and its shell run, its spec loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, load_spec

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_python_runs_in_an_empty_folder(tmp_path: Path) -> None:
    """As it stands."""
    program = "\n".join(blocks("python"))
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_spec_loads(tmp_path: Path) -> None:
    """With its references to other keys."""
    (text,) = blocks("yaml")
    (tmp_path / "spec.yaml").write_text(text)
    spec = load_spec(Experiment, tmp_path / "spec.yaml").spec
    assert spec.evaluate.checkpoint == Path("results/train/dd_model_best.pth")
    assert spec.dataset.test_data_sources == spec.dataset.val_data_sources


@pytest.mark.slow
def test_the_shell_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line, in one folder with the README's spec."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (text,) = blocks("yaml")
    Path("spec.yaml").write_text(text.replace("num_classes: auto", "num_classes: 4"))
    for line in "".join(blocks("sh")).splitlines():
        with pytest.raises(SystemExit) as ended:
            main(line.split()[1:])
        assert ended.value.code == 0, line
