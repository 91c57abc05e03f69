"""Two processes of one run under torchrun: one reports, both compute."""

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
