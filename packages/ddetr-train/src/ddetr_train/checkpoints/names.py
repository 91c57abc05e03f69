"""What the checkpoint files of a run are called."""

from __future__ import annotations

import re
from pathlib import Path

LATEST_NAME = "dd_model_latest.pth"
BEST_NAME = "dd_model_best.pth"
STAGING_NAME = ".dd_model_staging.pth"


def epoch_file_name(epoch: int) -> str:
    """Name the file of a zero-based epoch."""
    return f"model_epoch_{epoch:03d}.pth"


def epoch_of(path: Path) -> int | None:
    """Read the zero-based epoch from the name of an epoch's file; None for other names."""
    match = re.fullmatch(r"model_epoch_(\d+)\.pth", path.name)
    return int(match[1]) if match else None


def epoch_files(results_dir: Path) -> list[Path]:
    """List the files of single epochs, oldest first."""
    found = [
        (epoch, path)
        for path in results_dir.glob("model_epoch_*.pth")
        if (epoch := epoch_of(path)) is not None
    ]
    return [path for _, path in sorted(found)]
