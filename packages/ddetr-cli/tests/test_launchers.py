"""Launchers from outside: processes of one run, and variables that no launcher left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROCESSES = 2


@pytest.mark.slow
def test_torchrun_starts_a_training_of_two_processes(tiny_spec: Path, tmp_path: Path) -> None:
    """PyTorch's own launcher: status, spec and checkpoints are written once, by the first."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [f"--nproc_per_node={PROCESSES}", "-m", "ddetr_cli", "train", "-e", str(tiny_spec)]
    run = subprocess.run(
        [*launcher, *command, "train.num_epochs=1"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "results" / "train"
    lines = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines].count("STARTED") == 1
    assert lines[-1]["status"] == "SUCCESS"
    stored = torch.load(folder / "dd_model_latest.pth", weights_only=True)
    assert stored["global_step"] == 2  # six images, two a process and step
    assert run.stdout.count("training for 2 steps") == 1


def ddetr(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an environment with more variables."""
    return subprocess.run(
        [sys.executable, "-m", "ddetr_cli", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LEFT_OVER = [
    ("RANK", "1"),
    ("RANK", "x"),
    ("NODE_RANK", "5"),
    ("LOCAL_RANK", "2"),
    ("WORLD_SIZE", "0"),
    ("PMI_RANK", "1"),
]


@pytest.mark.parametrize("task", ["train", "evaluate"])
@pytest.mark.parametrize(("name", "value"), LEFT_OVER)
def test_a_left_over_rank_is_one_sentence(
    tiny_spec: Path, tmp_path: Path, task: str, name: str, value: str
) -> None:
    """No silent run beside nobody: exit status 2, the variable's name, no results folder."""
    # fault 11
    answer = ddetr(task, "-e", str(tiny_spec), **{name: value})
    assert answer.returncode == 2
    (sentence,) = answer.stderr.splitlines()
    assert sentence.startswith(f"ddetr: {name} ")
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_batch_script_without_srun_trains_alone(tiny_spec: Path, tmp_path: Path) -> None:
    """The job's other tasks were never started: nobody waits for them, and one notice says so."""
    tasks = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    numbers = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1"}
    answer = ddetr("train", "-e", str(tiny_spec), "train.num_epochs=1", **tasks, **numbers, **job)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("srun did not start this process") == 1
    status = (tmp_path / "results" / "train" / "status.json").read_text().splitlines()
    assert json.loads(status[-1])["status"] == "SUCCESS"
