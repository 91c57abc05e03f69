"""Where the first number that is not finite arises: a weight, an input, an output, a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ddetr_data.torch import Batch
from ddetr_model import DeformableDETR, SetCriterion


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
        if not is_finite(value):
            return f"the loss {name}"
    for name, gradient in reversed(_gradients(model, criterion.total_loss(losses)).items()):
        if not is_finite(gradient):
            return f"the gradient of {name}"
    return None


def _bad_weight(model: nn.Module) -> str | None:
    for name, weight in model.named_parameters():
        if not is_finite(whole(weight)):
            return f"the weight {name}"
    return None


def _bad_image(batch: Batch, files: Sequence[str]) -> str | None:
    for number, (image, target) in enumerate(zip(batch.images, batch.targets, strict=True)):
        name = files[number] if files else _image_name(target, number)
        if not is_finite(image):
            return f"the input of image {name}"
        if not is_finite(target["boxes"]):
            return f"a labelled box of image {name}"
    return None


def _image_name(target: Mapping[str, Tensor], number: int) -> str:
    """Give the image's id in the data, else its index in the batch."""
    return str(int(target["image_id"])) if "image_id" in target else f"{number} of the batch"


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Compute gradients beside the parameters', without waking what averages over processes."""
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if any(hasattr(weight, "full_tensor") for weight in weights.values()):
        return {}  # FSDP frees the whole weights after the forward pass
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return {}  # whose gradients all processes compute together, and some have left by now
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: value for name, value in zip(weights, found, strict=True) if value is not None}


@contextmanager
def _outputs_watched(model: nn.Module) -> Iterator[list[str]]:
    bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not all(is_finite(value) for value in tree_leaves(output) if _is_float(value)):
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


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def is_finite(value: Tensor) -> bool:
    """Whether every number of a tensor is finite."""
    return bool(torch.isfinite(value.detach()).all())


def whole(value: Tensor) -> Tensor:
    """Gather a tensor that FSDP has split."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach()
