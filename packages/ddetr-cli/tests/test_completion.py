"""What shells complete: subtasks, options, keys and choices."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import SUBTASK_KEYS


def completed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    shell: str = "bash",
) -> str:
    """Give what the command says to a shell that asks for the last of the words."""
    monkeypatch.setenv("_DDETR_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ddetr mig", ["migrate"]),
        ("ddetr train train.optim.lr_s", [f"train.optim.lr_{x}=" for x in ("scheduler", "steps")]),
        ("ddetr convert val", ["val_split="]),
        ("ddetr evaluate evaluate.judge=p", ["evaluate.judge=pycocotools"]),
        ("ddetr train train.num_epochs=", []),
        ("ddetr train -e spec.yaml --verb", ["--verbose"]),
        ("ddetr train --help-k", ["--help-keys"]),
        ("ddetr keys tr", []),
    ],
)
def test_words_are_completed(
    words: str,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In bash; each of the words, and no other."""
    found = completed(monkeypatch, capsys, words).split()
    assert set(expected) <= set(found)
    assert all(word.startswith(words.rpartition(" ")[2]) for word in found)
    assert bool(found) == bool(expected)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered_too(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in its form."""
    assert "train.precision=" in completed(monkeypatch, capsys, "ddetr train train.pre", shell)


@pytest.mark.parametrize("subtask", SUBTASK_KEYS)
def test_every_subtask_with_keys_completes_them(
    subtask: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that it reads."""
    found = completed(monkeypatch, capsys, f"ddetr {subtask} ").split()
    assert {f"{row.name}=" for row in SUBTASK_KEYS[subtask].all_rows()} <= set(found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a process whose shell is told, as it cannot be asked for here."""
    code = f"from ddetr_cli.app import main; main(['--show-completion', '{shell}'])"
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "_DDETR_COMPLETE" in shown.stdout, shown.stderr
