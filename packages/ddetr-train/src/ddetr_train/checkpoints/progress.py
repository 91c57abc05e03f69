"""How far the run of a checkpoint is: epochs, and images of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddetr_train.checkpoints.options import ResumeError


def images_seen(data_state: Mapping[str, Any]) -> int:
    """Count the images that all processes have had of the epoch in which a checkpoint was saved."""
    _, batches = data_state["position"]
    return int(batches * data_state["identity"]["batch_size"] * data_state["processes"])


def epochs_done(checkpoint: Mapping[str, Any], path: Path) -> int:
    """Count the epochs that are over, with their validation.

    Raises:
        ResumeError: the checkpoint does not say.
    """
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(
            f"{path} does not say how many epochs it has ({error!r}): take another checkpoint, or "
            "pass it as train.pretrained_model_path"
        ) from error


def epochs_trained(checkpoint: Mapping[str, Any]) -> int:
    """Count the epochs of which all batches are done, validated or not."""
    epoch, batches = checkpoint["DetectionDataModule"]["position"]
    progress = checkpoint["loops"]["fit_loop"].get("epoch_loop.batch_progress", {})
    return int(epoch) + int(bool(batches) and bool(progress.get("is_last_batch")))
