"""How large a detector is: parameters by part, floating-point operations, activation memory.

B images, S pixels of all levels, Q queries, M heads, D channels a head, L levels, P points.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ddetr_model.deformable_detr import DeformableDETR
from ddetr_ops import MSDeformAttn

__all__ = ["ModelSummary", "count_activation_bytes", "summarize"]

PAPER_SIZE_HW = (800, 1066)
PAPER_FIGURES = "40 M parameters, 173 GFLOPs, a mean over images of 800 pixels and their shapes"
PARTS = ("backbone", "input_proj", "transformer.encoder", "transformer.decoder")
HEADS = "queries, embeddings and heads"
NATIVE_OP = "ddetr_ops::ms_deform_attn"


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
    """Count parameters, run one empty image to count operations, and count kept activations.

    The paper has 40 M parameters and 173 GFLOPs for R50, a mean over images of several sizes.
    """
    copied = copy.deepcopy(model).eval()
    image = torch.zeros(1, 3, *image_size_hw)
    flops = _count_flops(copied.cpu(), image)
    activation_bytes = count_activation_bytes(copied, tuple(image.shape))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = _by_part({name: p.numel() for name, p in model.named_parameters()})
    return ModelSummary(image_size_hw, parameters, trainable, flops, activation_bytes)


def count_activation_bytes(model: DeformableDETR, images_shape: tuple[int, ...]) -> int:
    """Count what a forward pass over (B, 3, H, W) images keeps for the backward pass.

    Nothing is computed: only shapes pass through a copy. Activation checkpointing and the mode,
    training or evaluation, are the model's own.
    """
    shapes_only = copy.deepcopy(model).to("meta")
    for module in shapes_only.modules():
        if isinstance(module, MSDeformAttn):
            module.core = _native_attention
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


def _count_flops(model: DeformableDETR, image: Tensor) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore uses torch.jit when it is loaded
        from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(_OutputsOnly(model), (image,))
    analysis.set_op_handle(NATIVE_OP, _count_attention)
    analysis.set_op_handle("aten::grid_sampler", _count_sampling)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _count_dot_products)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    by_module = analysis.by_module()
    counts = {part: int(by_module[f"model.{part}"]) for part in PARTS}
    counts[HEADS] = int(analysis.total()) - sum(counts.values())
    return counts


def _count_attention(inputs: list[Any], _outputs: list[Any]) -> int:
    # Every sample is four neighbours weighed by position, then once by attention.
    value, locations = inputs[0], inputs[3]
    channels = value.type().sizes()[-1]
    samples: int = math.prod(locations.type().sizes()[:-1])  # B * Q * M * L * P
    return 5 * samples * int(channels)


def _count_sampling(_inputs: list[Any], outputs: list[Any]) -> int:
    return 5 * int(math.prod(outputs[0].type().sizes()))  # B * M, D, Q, P


def _count_dot_products(inputs: list[Any], _outputs: list[Any]) -> int:
    query, key = (value.type().sizes() for value in inputs[:2])  # (B, M, Q, D), (B, M, K, D)
    return 2 * int(math.prod(query) * key[-2])  # with every key, then with every value


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


class _OutputsOnly(nn.Module):
    """The detector with a tuple of tensors as output, which tracing needs."""

    def __init__(self, model: DeformableDETR) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.model(image)
        return outputs.pred_logits, outputs.pred_boxes
