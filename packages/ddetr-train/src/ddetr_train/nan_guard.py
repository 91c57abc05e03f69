"""Stop a run at the first number that is not finite, say where it arose, and keep the evidence."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from ddetr_data.coco import DetectionSet
from ddetr_data.torch.collate import Batch
from ddetr_model.detector import DeformableDETR
from ddetr_model.losses import SetCriterion
from ddetr_train.checkpoint_io import AtomicCheckpointIO
from ddetr_train.processes import gather_objects
from ddetr_train.randomness import seed_batch

if TYPE_CHECKING:
    from ddetr_train.module import DetectionModule

logger = logging.getLogger(__name__)

# Updates in a row that fp16's loss scaling may skip before the run counts as broken.
MAX_SKIPPED_UPDATES = 20


class NonFiniteError(RuntimeError):
    """A loss or a gradient is not finite; `evidence` is the file for `ddetr_train.replay`."""

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

    def check(self, module: DetectionModule, gradient_norm: float) -> None:
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

    def _stop(self, module: DetectionModule, step: _Step) -> None:
        """Find what is bad on every process; the first that finds something keeps the evidence."""
        files = self._paths(step.batch)
        seed = (module.config.seed, step.epoch, step.batch_idx, module.global_rank)
        content: dict[str, Any] = {
            "model": module.model.config.model_dump(mode="json"),
            "state_dict": {key: _whole(value) for key, value in module.model.state_dict().items()},
            "has_frozen_norms": _has_frozen_norms(module.model),
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


def _repeated(module: DetectionModule, step: _Step, files: Sequence[str]) -> str | None:
    try:
        with module.trainer.precision_plugin.forward_context():
            return first_non_finite(module.model, module.criterion, step.batch, files)
    except (RuntimeError, ValueError) as error:  # no memory, or numbers that nothing computes with
        logger.warning("the step could not be repeated to name what is bad: %s", error)
        return None


def first_non_finite(
    model: DeformableDETR, criterion: SetCriterion, batch: Batch, files: Sequence[str] = ()
) -> str | None:
    """Run the batch and name the first weight, input, module output, loss or gradient gone bad.

    Every process of a run must call it: they meet in the forward pass, whatever each has found.

    Args:
        files: of the batch's images, by which they are named; absent, by their ids.
    """
    bad_input = _bad_weight(model) or _bad_image(batch, files)
    with torch.enable_grad(), _outputs_watched(model) as bad_modules:
        losses = criterion(model(batch.images, batch.mask, batch.targets), batch.targets)
    if bad_input:
        return bad_input
    if bad_modules:
        return f"the output of {bad_modules[0]}"
    for name, value in losses.items():
        if not _is_finite(value):
            return f"the loss {name}"
    for name, gradient in reversed(_gradients(model, criterion.total_loss(losses)).items()):
        if not _is_finite(gradient):
            return f"the gradient of {name}"
    return None


def _bad_weight(model: nn.Module) -> str | None:
    for name, weight in model.named_parameters():
        if not _is_finite(_whole(weight)):
            return f"the weight {name}"
    return None


def _bad_image(batch: Batch, files: Sequence[str]) -> str | None:
    for number, (image, target) in enumerate(zip(batch.images, batch.targets, strict=True)):
        name = files[number] if files else _image_name(target, number)
        if not _is_finite(image):
            return f"the input of image {name}"
        if not _is_finite(target["boxes"]):
            return f"a labelled box of image {name}"
    return None


def _image_name(target: Mapping[str, Tensor], number: int) -> str:
    """Give the image's id in the data, else its place in the batch."""
    return str(int(target["image_id"])) if "image_id" in target else f"{number} of the batch"


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Compute gradients beside the parameters', without waking what averages over processes."""
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if any(hasattr(weight, "full_tensor") for weight in weights.values()):
        return {}  # FSDP frees the whole weights after the forward pass
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: value for name, value in zip(weights, found, strict=True) if value is not None}


@contextmanager
def _outputs_watched(model: nn.Module) -> Iterator[list[str]]:
    bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not all(_is_finite(value) for value in _floats(output)):
                bad.append(name)

        return hook

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name
    ]
    try:
        yield bad
    finally:
        for handle in handles:
            handle.remove()


def _floats(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _floats(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _floats(value)


def _scales_loss(module: DetectionModule) -> bool:
    return getattr(module.trainer.precision_plugin, "scaler", None) is not None


def _has_frozen_norms(model: nn.Module) -> bool:
    return any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value.detach()).all())


def _whole(value: Tensor) -> Tensor:
    """Gather a tensor that FSDP has split."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach()
