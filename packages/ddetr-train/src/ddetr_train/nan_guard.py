"""Stop a run at the first number that is not finite, say where it arose, and keep the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ddetr_data.torch.collate import Batch
from ddetr_train.checkpoint_io import replacing
from ddetr_train.randomness import seed_batch

if TYPE_CHECKING:
    from ddetr_train.module import DetectionModule

# Updates in a row that fp16's loss scaling may skip before the run counts as broken.
MAX_SKIPPED_UPDATES = 20


class NonFiniteError(RuntimeError):
    """A loss or a gradient is not finite; `evidence` is the file for `ddetr_train.replay`."""

    def __init__(self, where: str, first_bad: str, evidence: Path) -> None:
        super().__init__(
            f"{where}: {first_bad} is the first that is not finite; {evidence} holds the batch, "
            "the weights and the seed to replay it"
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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        name = f"nan_epoch_{step.epoch:03d}_batch_{step.batch_idx}_rank_{module.global_rank}.pt"
        evidence = self._folder / name
        content = {
            "model": module.model.config.model_dump(mode="json"),
            "state_dict": {key: _whole(value) for key, value in module.model.state_dict().items()},
            "batch": step.batch._asdict(),
            "seed": [module.config.seed, step.epoch, step.batch_idx, module.global_rank],
        }
        with replacing(evidence) as temporary:
            torch.save(content, temporary)
        seed_batch(module.config.seed, step.epoch, step.batch_idx, module.global_rank)
        first_bad = first_non_finite(module, step.batch)
        where = f"epoch {step.epoch}, batch {step.batch_idx}"
        raise NonFiniteError(where, first_bad, evidence)


def first_non_finite(module: DetectionModule, batch: Batch) -> str:
    """Run the batch again and name the first weight, module output, loss or gradient gone bad."""
    for name, weight in module.model.named_parameters():
        if not bool(torch.isfinite(_whole(weight)).all()):
            return f"the weight {name}"
    with torch.enable_grad(), _outputs_watched(module.model) as bad_modules:
        losses = module.losses(batch)
    if bad_modules:
        return f"the output of {bad_modules[0]}"
    for name, value in losses.items():
        if not bool(torch.isfinite(value).all()):
            return f"the loss {name}"
    module.zero_grad()
    torch.autograd.backward(module.criterion.total_loss(losses))
    for name, weight in reversed(list(module.model.named_parameters())):
        if weight.grad is not None and not bool(torch.isfinite(_whole(weight.grad)).all()):
            return f"the gradient of {name}"
    return "nothing: the batch alone is finite, so another batch of the same update"


@contextmanager
def _outputs_watched(model: nn.Module) -> Iterator[list[str]]:
    bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not all(bool(torch.isfinite(value).all()) for value in _floats(output)):
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


def _whole(value: Tensor) -> Tensor:
    """Gather a tensor that FSDP has split."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach()
