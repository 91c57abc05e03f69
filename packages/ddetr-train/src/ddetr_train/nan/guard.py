"""Stop a run at the first number that is not finite, say where it arose, and keep the evidence."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torchvision.ops import FrozenBatchNorm2d

from ddetr_data.coco import DetectionSet
from ddetr_data.torch import Batch
from ddetr_model import DeformableDETR, SetCriterion, parts_from_outside
from ddetr_train.checkpoints import AtomicCheckpointIO
from ddetr_train.config import TrainConfig
from ddetr_train.nan.non_finite import first_non_finite, whole
from ddetr_train.process import gather_objects, seed_batch

logger = logging.getLogger(__name__)

# Updates in a row that fp16's loss scaling may skip before the run counts as broken.
MAX_SKIPPED_UPDATES = 20


class GuardedModule(Protocol):
    """What the guard needs of the LightningModule whose updates it looks at."""

    model: DeformableDETR
    criterion: SetCriterion
    config: TrainConfig

    @property
    def global_rank(self) -> int:
        """This process among all of the run."""
        ...

    @property
    def trainer(self) -> Any:
        """Lightning's Trainer."""
        ...


class NonFiniteError(RuntimeError):
    """A loss or a gradient is not finite; `evidence` is the file that `ddetr replay` reads."""

    def __init__(self, where: str, first_bad: str, evidence: Path) -> None:
        super().__init__(
            f"{where}: {first_bad} is the first that is not finite; {evidence} holds the batch, "
            f"the weights and the seed: `ddetr replay {evidence}` repeats the step in fp32"
        )
        self.first_bad = first_bad
        self.evidence = evidence


@dataclass(frozen=True)
class _Step:
    batch: Batch
    epoch: int
    batch_idx: int


class NanGuard:
    """Remembers the batch at hand and looks at each update's gradient norm."""

    def __init__(
        self, folder: Path, files: AtomicCheckpointIO, images: DetectionSet | None = None
    ) -> None:
        self._folder = folder
        self._files = files
        self._images = images
        self._step: _Step | None = None
        self._bad: _Step | None = None
        self._skipped = 0

    def watch(self, batch: Batch, loss: Tensor, epoch: int, batch_idx: int) -> Tensor:
        """Remember the batch; a loss that is not finite gets NaN gradients on every process."""
        self._step = _Step(batch, epoch, batch_idx)
        if math.isfinite(loss.item()):
            return loss
        self._bad = self._bad or self._step
        return loss * math.nan

    def check(self, module: GuardedModule, gradient_norm: float) -> None:
        """Pass a finite norm; fp16's loss scaling may skip some updates before it counts.

        Raises:
            NonFiniteError: the update would put NaN into the weights.
        """
        if math.isfinite(gradient_norm):
            self._bad, self._skipped = None, 0
            return
        self._skipped += 1
        if _scales_loss(module) and self._skipped < MAX_SKIPPED_UPDATES:
            return
        step = self._bad or self._step
        if step is None:
            raise RuntimeError("a gradient is not finite, but no batch was watched")
        self._stop(module, step)

    def _stop(self, module: GuardedModule, step: _Step) -> None:
        """Find what is bad on every process; the first that finds something keeps the evidence."""
        files = self._paths(step.batch)
        seed = (module.config.seed, step.epoch, step.batch_idx, module.global_rank)
        weights = module.criterion.class_weights
        content: dict[str, Any] = {
            "model": module.model.config.model_dump(mode="json"),
            "losses": module.model.losses.model_dump(mode="json"),
            "parts": parts_from_outside(module.model),
            "class_weights": None if weights is None else weights.tolist(),
            "state_dict": {key: whole(value) for key, value in module.model.state_dict().items()},
            "has_frozen_norms": any(
                isinstance(each, FrozenBatchNorm2d) for each in module.model.modules()
            ),
            "batch": step.batch._asdict(),
            "images": files,
            "seed": list(seed),
            "precision": module.config.precision,
        }
        seed_batch(*seed)
        steps = gather_objects((step.batch_idx, _repeated(module, step, files)))
        rank = next((rank for rank, (_, found) in enumerate(steps) if found), 0)
        batch_idx, found = steps[rank]
        name = f"nan_epoch_{step.epoch:03d}_batch_{batch_idx}_rank_{rank}.pt"
        first_bad = found or "a sum over several batches"
        if rank == module.global_rank:
            self._files.save_checkpoint(content | {"first_bad": first_bad}, self._folder / name)
        where = f"epoch {step.epoch}, batch {batch_idx}" + (f", process {rank}" if rank else "")
        raise NonFiniteError(where, first_bad, self._folder / name)

    def _paths(self, batch: Batch) -> list[str]:
        if self._images is None:
            return []
        ids = [int(target["image_id"]) for target in batch.targets]
        paths = {each.id: str(each.path) for each in self._images.images if each.id in set(ids)}
        return [paths[image_id] for image_id in ids]


def _repeated(module: GuardedModule, step: _Step, files: Sequence[str]) -> str | None:
    try:
        with module.trainer.precision_plugin.forward_context():
            return first_non_finite(module.model, module.criterion, step.batch, files)
    except (RuntimeError, ValueError) as error:  # no memory, or numbers that nothing computes with
        logger.warning("the step could not be repeated to name what is bad: %s", error)
        return None


def _scales_loss(module: GuardedModule) -> bool:
    return getattr(module.trainer.precision_plugin, "scaler", None) is not None
