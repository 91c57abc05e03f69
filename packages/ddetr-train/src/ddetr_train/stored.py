"""Checkpoints on the disk, plain or encrypted, as models."""

from __future__ import annotations

from pathlib import Path

from ddetr_model.checkpoint import CheckpointMetadata, load_checkpoint
from ddetr_model.detector import DeformableDETR


def load_model(
    path: Path, encryption_key: str | None = None
) -> tuple[DeformableDETR, CheckpointMetadata]:
    """Read a detector, in eval mode on the CPU, and what its file says about it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of ours, or the key does not open it.
    """
    if encryption_key is not None:
        raise ValueError("encryption_key is not available in this version: leave it unset")
    model = load_checkpoint(path)
    if model.metadata is None:
        raise ValueError(f"{path} carries no metadata of ddetr")
    return model, model.metadata
