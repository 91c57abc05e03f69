"""The passphrase reaches no file, no log and no command line of a process that we start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddetr_cli.passphrase import hand_on_by_environment

PASSPHRASE = "sesame-7431"
EVERY_STEP_SECONDS = 0.02


@pytest.mark.parametrize("word", ["encryption_key=", "++encryption_key=", '"encryption_key"='])
def test_a_passphrase_moves_from_the_words_to_the_environment(monkeypatch, word) -> None:
    """However it is written; other words and a file's passphrase stay."""
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "")
    monkeypatch.setattr(sys, "argv", ["ddetr", "train", word + PASSPHRASE, "train.seed=1"])
    assert hand_on_by_environment(PASSPHRASE)
    assert sys.argv == ["ddetr", "train", "encryption_key=null", "train.seed=1"]
    assert os.environ["DDETR_ENCRYPTION_KEY"] == PASSPHRASE
    monkeypatch.setattr(sys, "argv", ["ddetr", "train", "train.seed=1"])
    assert not hand_on_by_environment(PASSPHRASE)


# What a process shows of itself when it could not even load what reads a spec.
SHOW = """
import atexit, pathlib, sys
sys.modules["pydantic"] = sys.modules["yaml"] = None
atexit.register(lambda: print(pathlib.Path("/proc/self/cmdline").read_bytes()))
from ddetr_cli.app import main
main()
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("word", ["encryption_key=", "++encryption_key=", "'encryption_key'="])
def test_the_command_line_is_hidden_before_anything_else_is_done(word: str) -> None:
    """Neither pydantic nor YAML is loaded by then; other words stay."""
    command = [sys.executable, "-c", SHOW, "train", "-e", "a.yaml", word + PASSPHRASE]
    shown = subprocess.run([*command, "train.seed=1"], capture_output=True, text=True).stdout
    assert PASSPHRASE not in shown
    assert "*" * len(PASSPHRASE) in shown
    assert "train.seed=1" in shown


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_no_process_and_no_file_shows_the_passphrase(tiny_spec: Path, tmp_path: Path) -> None:
    """Two processes train, encrypted; those that they start were watched all the time."""
    overrides = [f"encryption_key={PASSPHRASE}", "train.num_epochs=1", "dataset.workers=1"]
    command = [sys.executable, "-m", "ddetr_cli", "train", "-e", str(tiny_spec), *overrides]
    log = tmp_path / "console.log"
    environment = os.environ | {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    seen = set()
    with log.open("wb") as output:
        run = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        while run.poll() is None:
            seen |= set(children_of(run.pid))
            time.sleep(EVERY_STEP_SECONDS)
    assert run.returncode == 0, log.read_text()
    assert any("encryption_key=null" in words for words in seen), seen
    assert any("encryption_key=*****" in words for words in seen), seen
    assert [words for words in seen if PASSPHRASE in words] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if PASSPHRASE.encode() in path.read_bytes()] == []
    latest = tmp_path / "results" / "train" / "dd_model_latest.pth"
    assert latest.read_bytes().startswith(b"DDETRENC")
    assert "every user of this machine can read it" in log.read_text()


def children_of(pid: int) -> Iterator[str]:
    """Read the command lines of all that descends from a process."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in map(int, below):
            yield Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            yield from children_of(child)
    except (FileNotFoundError, ProcessLookupError):
        return
