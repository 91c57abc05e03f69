"""How large a detector is: parameters by part, floating-point operations, activation memory.

B images, S pixels of all levels, Q queries, M heads, D channels a head, L levels, P points.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddetr_model.deformable_detr import DeformableDETR
from ddetr_ops import MSDeformAttn

__all__ = ["ModelSummary", "count_activation_bytes", "summarize"]

PAPER_SIZE_HW = (800, 1066)
PAPER_FIGURES = "40 M parameters, 173 GFLOPs, a mean over images of 800 pixels and their shapes"
PARTS = ("backbone", "input_proj", "transformer.encoder", "transformer.decoder")
HEADS = "queries, embeddings and heads"
OPERATIONS_A_NUMBER = {"affine": 5, "plain": 4, "by known statistics": 2}  # of a normalisation


@dataclass(frozen=True)
class ModelSummary:
    """The size of a model for one image."""

    image_size_hw: tuple[int, int]
    parameters: dict[str, int]  # by part; shared ones once
    trainable: int
    flops: dict[str, int]  # by part; a multiplication and its addition are one
    activation_bytes: int  # kept for the backward pass, without checkpointing

    @property
    def total_parameters(self) -> int:
        """Parameters of all parts, frozen statistics left out."""
        return sum(self.parameters.values())

    @property
    def total_flops(self) -> int:
        """Operations of all parts."""
        return sum(self.flops.values())

    def table(self) -> str:
        """Give a line for each part, and one for all."""
        lines = [f"{'part':<32}{'parameters':>14}{'GFLOPs':>10}"]
        for part in self.parameters:
            flops = self.flops.get(part, 0) / 1e9
            lines.append(f"{part:<32}{self.parameters[part]:>14,}{flops:>10.1f}")
        lines.append(f"{'all':<32}{self.total_parameters:>14,}{self.total_flops / 1e9:>10.1f}")
        height, width = self.image_size_hw
        mebibytes = self.activation_bytes / 2**20
        lines += [
            f"activations of one {height} x {width} image in training: {mebibytes:.0f} MiB",
            f"for comparison, R50 in the paper: {PAPER_FIGURES}",
        ]
        return "\n".join(lines)


def summarize(
    model: DeformableDETR, image_size_hw: tuple[int, int] = PAPER_SIZE_HW
) -> ModelSummary:
    """Count parameters, and what one image takes: operations, and activations that are kept.

    Nothing is computed: only shapes pass through a copy. The paper has 40 M parameters and
    173 GFLOPs for R50, a mean over images of several sizes.
    """
    shapes_only = _without_data(model).eval()
    images_shape = (1, 3, *image_size_hw)
    activation_bytes = _count_kept_bytes(shapes_only, images_shape)
    flops = _count_flops(shapes_only.requires_grad_(False), images_shape)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = _by_part({name: p.numel() for name, p in model.named_parameters()})
    return ModelSummary(image_size_hw, parameters, trainable, flops, activation_bytes)


def count_activation_bytes(model: DeformableDETR, images_shape: tuple[int, ...]) -> int:
    """Count what a forward pass over (B, 3, H, W) images keeps for the backward pass.

    Nothing is computed: only shapes pass through a copy. Activation checkpointing and the mode,
    training or evaluation, are the model's own.
    """
    return _count_kept_bytes(_without_data(model), images_shape)


def _without_data(model: DeformableDETR) -> DeformableDETR:
    """Copy the model as shapes alone."""
    shapes_only = copy.deepcopy(model).to("meta")
    for module in shapes_only.modules():
        if isinstance(module, MSDeformAttn):
            module.core = _native_attention
    return shapes_only


def _count_kept_bytes(shapes_only: DeformableDETR, images_shape: tuple[int, ...]) -> int:
    kept: dict[int, int] = {}
    parameters = {_storage(parameter) for parameter in shapes_only.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in parameters:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    images = torch.zeros(images_shape, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = shapes_only(images)  # alive until the sum is taken
    total = sum(kept.values())
    del outputs
    return total


def _count_flops(shapes_only: DeformableDETR, images_shape: tuple[int, ...]) -> dict[str, int]:
    """Count by part; PyTorch's counter takes a multiplication and its addition for two."""
    from torch.utils.flop_counter import FlopCounterMode  # loads much else

    aten = torch.ops.aten
    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            torch.ops.ddetr_ops.ms_deform_attn: _attention_flops,
            aten.native_layer_norm: _layer_norm_flops,
            aten.native_group_norm: _group_norm_flops,
            aten.native_batch_norm: _batch_norm_flops,
            aten._native_batch_norm_legit_no_training: _batch_norm_flops,  # of torch 2.11
        },
    )
    with torch.no_grad(), counter:
        shapes_only(torch.zeros(images_shape, device="meta"))
    by_module = {
        name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()
    }
    counts = {part: _of_part(f"{type(shapes_only).__name__}.{part}", by_module) for part in PARTS}
    counts[HEADS] = by_module["Global"] - sum(counts.values())
    return counts


def _of_part(part: str, by_module: dict[str, int]) -> int:
    """Sum over the part, or over what is called of it where it is not called itself."""
    inside = [name for name in by_module if f"{name}.".startswith(f"{part}.")]
    outermost = [
        name for name in inside if not any(name.startswith(f"{other}.") for other in inside)
    ]
    return sum(by_module[name] for name in outermost)


# Shapes come for tensors. What these give is twice the operations, as PyTorch's counter has it.
def _attention_flops(
    value: Sequence[int], _shapes: Any, _starts: Any, locations: Sequence[int], *_: Any, **__: Any
) -> int:
    # Every sample is four neighbours weighed by position, then once by attention.
    return 2 * 5 * math.prod(locations[:-1]) * value[-1]  # B * Q * M * L * P, D


def _layer_norm_flops(value: Sequence[int], _sizes: Any, weight: Any, *_: Any, **__: Any) -> int:
    return _norm_flops(value, "plain" if weight is None else "affine")


def _group_norm_flops(value: Sequence[int], weight: Any, *_: Any, **__: Any) -> int:
    return _norm_flops(value, "plain" if weight is None else "affine")


def _batch_norm_flops(value: Sequence[int], *_: Any, **__: Any) -> int:
    return _norm_flops(value, "by known statistics")


def _norm_flops(value: Sequence[int], kind: str) -> int:
    return 2 * OPERATIONS_A_NUMBER[kind] * math.prod(value)


def _native_attention(
    value: Tensor, shapes_hw: Any, _starts: Any, locations: Tensor, weights: Tensor
) -> Tensor:
    # Tensors without data have shapes alone, which the operator knows without a kernel.
    shapes = torch.tensor(shapes_hw, device=value.device)
    starts = torch.zeros(len(shapes_hw), dtype=torch.int64, device=value.device)
    output: Tensor = torch.ops.ddetr_ops.ms_deform_attn(value, shapes, starts, locations, weights)
    return output


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _by_part(sizes: dict[str, int]) -> dict[str, int]:
    counts = dict.fromkeys((*PARTS, HEADS), 0)
    for name, size in sizes.items():
        part = next((part for part in PARTS if name.startswith(f"{part}.")), HEADS)
        counts[part] += size
    return counts
