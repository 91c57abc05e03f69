"""Packages of ours, and what they require, in versions that do not fit together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.commands.doctor import driver_problem
from ddetr_cli.versions import SIBLINGS, find_misfits, sentence_of

Install = Callable[..., Path]


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let a distribution appear to be installed, in front of all others; gives its folder."""
    folder = tmp_path / "pretended"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(name: str, version: str, *requires: str) -> Path:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {it}" for it in requires),
        ]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
        return folder

    return install


def test_what_is_installed_here_fits() -> None:
    """All that our packages require, and each other."""
    assert find_misfits() == []


def test_a_command_refuses_a_sibling_that_is_too_old(
    pretended: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence says who needs what, and the command that mends it; exit status 2."""
    pretended("ddetr-data", "0.0.9")
    with pytest.raises(SystemExit) as ended:
        main(["migrate", "-e", "nowhere.yaml"])
    assert ended.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "needs ddetr-data>=0.1,<0.2, and 0.0.9 is installed" in told
    assert told.endswith(f"pip install --upgrade {' '.join(SIBLINGS)}")


def test_a_sibling_that_is_too_new_is_refused_too(pretended: Install) -> None:
    """A pre-release of the version that may break as well."""
    pretended("ddetr-ops", "0.2.0.dev1")
    assert {misfit.name for misfit in find_misfits(SIBLINGS)} == {"ddetr-ops"}


def test_a_command_that_cannot_load_says_why(pretended: Install) -> None:
    """An old sibling without the names that are imported: no traceback."""
    folder = pretended("ddetr-data", "0.0.9")
    (folder / "ddetr_data.py").write_text("")
    ran = ddetr(folder, "--help")
    assert ran.returncode == 2
    assert ran.stderr.startswith("ddetr: ddetr-")
    assert ran.stderr.count("\n") == 1
    assert "needs ddetr-data>=0.1,<0.2, and 0.0.9 is installed" in ran.stderr


def test_a_fault_of_versions_that_fit_is_not_dressed_up(tmp_path: Path) -> None:
    """Its traceback is what helps."""
    (tmp_path / "ddetr_data.py").write_text("raise RuntimeError('odd')")
    ran = ddetr(tmp_path, "--help")
    assert ran.returncode == 1
    assert "RuntimeError: odd" in ran.stderr


def ddetr(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a folder in front of all others that are searched."""
    found = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{found}"}
    command = [sys.executable, "-m", "ddetr_cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_others_are_held_to_the_bounds_of_what_is_asked_for(pretended: Install) -> None:
    """Of extras too, where one of our packages asks another for one."""
    folder = pretended("ddetr-cli", "0.1.0", "ddetr-train[wandb]>=0.1,<0.2", "rich>=9999")
    pretended(
        "ddetr-train", "0.1.0", 'wandb>=9998; extra == "wandb"', 'mlflow>=9; extra == "mlflow"'
    )
    pretended("wandb", "0.1")
    assert folder.is_dir()
    found = {misfit.name: misfit.wanted for misfit in find_misfits(["rich", "wandb", "mlflow"])}
    assert found == {"rich": ">=9999", "wandb": ">=9998"}
    sentence = sentence_of(find_misfits(["wandb"]))
    assert sentence == (
        "ddetr-train 0.1.0 needs wandb>=9998, and 0.1 is installed: "
        "pip install --upgrade 'wandb>=9998'"
    )


def test_what_is_absent_is_said_so(pretended: Install) -> None:
    """A requirement that was removed."""
    pretended("ddetr-cli", "0.1.0", "ddetr-nothing>=1")
    (misfit,) = find_misfits(["ddetr-nothing"])
    assert str(misfit) == "ddetr-cli 0.1.0 needs ddetr-nothing>=1, which is not installed"


def test_damaged_records_are_misfits_and_no_traceback(pretended: Install) -> None:
    """A folder that an interrupted removal has left, and a requirement that is none."""
    folder = pretended("ddetr-cli", "0.1.0", "ddetr-ops>=0.1", "odd ((")
    (folder / "ddetr_ops-0.1.0.dist-info").mkdir()
    told = {str(misfit) for misfit in find_misfits(["ddetr-ops", "ddetr-cli"])}
    assert told >= {
        "ddetr-cli 0.1.0 needs ddetr-ops>=0.1, which is not installed",
        "ddetr-cli 0.1.0 needs odd ((, which is not installed",
    }


def test_a_gpu_that_the_kernels_do_not_serve_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The versions may fit, and the operator is slow all the same."""
    import torch

    import ddetr_ops
    from ddetr_ops.diagnosis import Diagnosis

    problem = "this build of ddetr-ops needs driver 580 or newer"
    diagnosis = Diagnosis("ddetr-ops 0.1.0", "avx2", {"cpu": "", "cuda": problem}, (), ())
    monkeypatch.setattr(ddetr_ops, "doctor", lambda: diagnosis)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert f"on the GPU, by the reference: {problem}" in told.err
    assert "The versions fit together." not in told.out
    lines = told.out.splitlines()
    assert f"cuda: reference, for {problem}" in lines
    assert "cpu: native, avx2" in lines


@pytest.mark.slow
def test_the_doctor_names_what_does_not_fit(
    pretended: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows all the rest all the same, and gives 1."""
    pretended("torch", "1.0")
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "and 1.0 is installed: pip install --upgrade 'torch>=" in told.err
    assert "ONNX Runtime: " in told.out


@pytest.mark.parametrize(
    ("built_for", "driver", "problem"),
    [
        (None, 12080, ""),
        ("13.0", None, ""),
        ("13.2", 13000, ""),
        ("12.9", 13000, ""),
        (
            "13.0",
            12080,
            "the NVIDIA driver runs CUDA up to 12.8, and this PyTorch is built for 13.0",
        ),
    ],
)
def test_an_old_driver_is_told(built_for: str | None, driver: int | None, problem: str) -> None:
    """Of another major version than the build's; without a GPU there is nothing to tell."""
    found = driver_problem(built_for, driver)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
