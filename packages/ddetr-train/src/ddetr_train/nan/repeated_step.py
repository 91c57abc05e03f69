"""Run the step again at which a run stopped with NaN, in fp32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ddetr_data.torch import Batch
from ddetr_model import DeformableDETR, SetCriterion, freeze_norms_as_in
from ddetr_model.checkpoints import check_parts, check_tensors, fill
from ddetr_model.weights import METADATA_KEY, metadata_of
from ddetr_train.checkpoints import AtomicCheckpointIO
from ddetr_train.nan.non_finite import first_non_finite
from ddetr_train.process import seed_batch

# What NanGuard writes.
_PARTS = {
    "batch",
    "first_bad",
    "has_frozen_norms",
    "images",
    "model",
    "precision",
    "seed",
    "state_dict",
}


@dataclass(frozen=True)
class Replay:
    """What the step gives in fp32; `first_bad` is None when all of it is finite."""

    epoch: int
    batch_idx: int
    images: tuple[str, ...]  # files of the batch
    precision: str  # of the run
    first_bad_in_run: str
    first_bad: str | None
    loss: float
    losses: dict[str, float]


def replay(
    evidence: Path,
    *,
    encryption_key: str | None = None,
    network: DeformableDETR | None = None,
    criterion: SetCriterion | None = None,
) -> Replay:
    """Repeat the forward and backward pass of a NanGuard's file.

    Args:
        evidence: the file.
        encryption_key: the passphrase of an encrypted one.
        network: the run's network, built anew, where it had parts from outside.
        criterion: the run's losses, where they were not the stock ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, the key does not open it, or it is of a changed model.
    """
    content = AtomicCheckpointIO(encryption_key).load_checkpoint(evidence)
    if not content.keys() >= _PARTS:
        raise ValueError(
            f"{evidence} holds no step to replay; a run that stops with NaN leaves nan_epoch_*.pt"
        )
    model = _build_model(content, evidence, network)
    batch = Batch(**content["batch"])
    criterion = criterion or SetCriterion(model.losses)
    if content.get("class_weights") is not None:
        criterion.set_class_weights(content["class_weights"])
    seed_batch(*content["seed"])
    first_bad = first_non_finite(model, criterion, batch, content["images"])
    seed_batch(*content["seed"])
    with torch.no_grad():
        losses = criterion(model(batch.images, batch.mask, batch.targets), batch.targets)
    _, epoch, batch_idx, _ = content["seed"]
    return Replay(
        epoch=epoch,
        batch_idx=batch_idx,
        images=tuple(content["images"]),
        precision=content["precision"],
        first_bad_in_run=content["first_bad"],
        first_bad=first_bad,
        loss=float(criterion.total_loss(losses)),
        losses={name: float(value) for name, value in losses.items()},
    )


def _build_model(
    content: dict[str, Any], evidence: Path, network: DeformableDETR | None
) -> DeformableDETR:
    stored = metadata_of({METADATA_KEY: content}, str(evidence))  # the same keys, some absent
    check_parts(stored.parts, str(evidence), network)
    model = network or DeformableDETR(
        stored.model_config_, losses=stored.losses, load_backbone_file=False
    )
    weights = content["state_dict"]
    if content["has_frozen_norms"]:
        freeze_norms_as_in(model, weights)
    fill(model, weights, check_tensors(model, weights, str(evidence)))
    return model.float().train()
