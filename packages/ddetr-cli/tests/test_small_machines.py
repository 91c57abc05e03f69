"""Little shared memory and few open files, as containers have them: seen before the first step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'


def train_in(shell: list[str], spec: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Train for an epoch with two workers in a process that the shell has prepared."""
    command = [sys.executable, "-m", "ddetr_cli", "train", "-e", str(spec), "dataset.workers=2"]
    return subprocess.run(
        [*shell, *command, "train.num_epochs=1", *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def assert_trained(answer: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    last = (folder / "results" / "train" / "status.json").read_text().splitlines()[-1]
    assert json.loads(last)["status"] == "SUCCESS"


@pytest.mark.slow
@pytest.mark.parametrize("size", ["400k", "64k", "64m,ro"])
def test_a_small_dev_shm_takes_fewer_workers(tiny_spec: Path, tmp_path: Path, size: str) -> None:
    """One sentence with the bytes that were needed and those that there are, and then it trains."""
    # fault 9
    alone = ["unshare", "-m", "sh", "-c", MOUNT.format(size=size), "sh"]
    may = shutil.which("unshare") and subprocess.run([*alone, "true"], check=False).returncode == 0
    if not may:
        pytest.skip("this process may not mount")
    answer = train_in(alone, tiny_spec)
    assert_trained(answer, tmp_path)
    assert answer.stderr.count("of shared memory, /dev/shm has") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of open files")
@pytest.mark.parametrize("files", [48, 64, 128])
def test_few_open_files_are_told_or_enough(tiny_spec: Path, tmp_path: Path, files: int) -> None:
    """It trains, or one sentence says what to raise; it never waits, and blames no file."""
    # faults 9 and 20
    shell = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]
    answer = train_in(shell, tiny_spec, "dataset.batch_size=6")
    if answer.returncode == 0:
        assert_trained(answer, tmp_path)
    else:
        assert answer.returncode == 2, answer.stderr
        assert "ulimit -n" in answer.stderr.splitlines()[-1]
        assert "Traceback" not in answer.stderr
