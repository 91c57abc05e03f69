"""A disk that fills up, or takes nothing, during a run: a clear error, and nothing lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ddetr_data.detection import RunEvent
from ddetr_train.checkpoints import LATEST_NAME

SMALL_DISK_MIB = 64
OPTIONS = {"loggers": [], "keep_last_checkpoints": 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={SMALL_DISK_MIB}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_whole(
    run_training, small_disk, tmp_path
) -> None:
    """The error names the file; with room again the same command ends as if nothing had been."""
    filler = small_disk / "filler"

    def fill(event: RunEvent) -> None:
        if event.kind == "checkpoint" and event.epoch == 0:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(2**16)):
                    pass

    folder = small_disk / "run"
    with pytest.raises(OSError, match=r"No space left on device: .*(\.pth|\.json)'"):
        run_training(results_dir=folder, observers=[fill], **OPTIONS)
    assert torch.load(folder / LATEST_NAME, weights_only=True)["epoch"] == 0
    assert [path for path in folder.rglob(".*") if path.stat().st_size] == []
    filler.unlink()
    run_training(results_dir=folder, **OPTIONS)
    run_training(results_dir=tmp_path / "whole", **OPTIONS)
    ends = [
        torch.load(place / LATEST_NAME, weights_only=True)["state_dict"]
        for place in (folder, tmp_path / "whole")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_disk_that_is_full_for_tensorboard_is_named_once(
    run_training, small_disk, capsys
) -> None:
    """Its thread writes nothing on the screen, and the error has the folder."""

    def fill(event: RunEvent) -> None:
        if event.kind == "step" and event.step == 1:
            with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(2**16)):
                    pass

    folder = small_disk / "run"
    options = OPTIONS | {"loggers": ["tensorboard"], "num_epochs": 50}
    with pytest.raises(OSError, match="No space left on device") as caught:
        run_training(results_dir=folder, observers=[fill], **options)
    assert str(folder) in str(caught.value)
    assert "Traceback" not in capsys.readouterr().err


def test_a_disk_that_takes_nothing_is_a_clear_error(run_training, small_disk) -> None:
    """A read-only file system is found at the first file, which the error names."""
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, capture_output=True)
    with pytest.raises(OSError, match="Read-only file system"):
        run_training(results_dir=small_disk / "run", num_epochs=1, **OPTIONS)
