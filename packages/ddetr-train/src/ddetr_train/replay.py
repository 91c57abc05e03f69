"""Run the step again at which a run stopped with NaN, in fp32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ddetr_data.torch.collate import Batch
from ddetr_model.config import ModelConfig
from ddetr_model.detector import DeformableDETR
from ddetr_model.losses import SetCriterion
from ddetr_train.checkpoint_io import AtomicCheckpointIO
from ddetr_train.nan_guard import first_non_finite
from ddetr_train.randomness import seed_batch


@dataclass(frozen=True)
class Replay:
    """What the step gives in fp32; `first_bad` is None when all of it is finite."""

    loss: float
    losses: dict[str, float]
    first_bad: str | None


def replay(evidence: Path, *, encryption_key: str | None = None) -> Replay:
    """Repeat the forward and backward pass of a NanGuard's file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or the key does not open it.
    """
    content = AtomicCheckpointIO(encryption_key).load_checkpoint(evidence)
    if "batch" not in content or "seed" not in content:
        raise ValueError(f"{evidence} holds no step to replay")
    model = DeformableDETR(ModelConfig(**content["model"]), load_backbone_file=False)
    model.load_state_dict(content["state_dict"])
    model.train()
    batch = Batch(**content["batch"])
    criterion = SetCriterion(model.config)
    seed_batch(*content["seed"])
    first_bad = first_non_finite(model, criterion, batch)
    seed_batch(*content["seed"])
    with torch.no_grad():
        losses = criterion(model(batch.images, batch.mask), batch.targets)
    return Replay(
        loss=float(criterion.total_loss(losses)),
        losses={name: float(value) for name, value in losses.items()},
        first_bad=first_bad,
    )
