"""The inference form of a detector: the same answers from fewer and larger steps.

B images, H and W pixels.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddetr_model.backbones import fold_batch_norms
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.fast_layers import use_fast_layers
from ddetr_model.outputs import DetectorOutput

__all__ = ["InferenceForm", "Precision", "inference_form"]

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Any of these makes a processor fast in 16 bits.
_INSTRUCTIONS = {"bf16": ("amx_bf16", "avx512_bf16"), "fp16": ("amx_fp16", "avx512_fp16")}
_COMPILING = (
    "compiling for this machine: the first images of each size take a minute or more; what is "
    "compiled stays in PyTorch's cache (TORCHINDUCTOR_CACHE_DIR) for the next run"
)
_TRIAL_HW = (128, 192)  # of the noise that shows which batch norm reads which convolution


class InferenceForm(nn.Module):
    """A detector that only answers; called like the `DeformableDETR` that it was made from."""

    def __init__(self, network: DeformableDETR, precision: Precision, run: Any) -> None:
        """Hold the network in its form; `inference_form` makes one."""
        super().__init__()
        self.network, self.precision = network, precision
        self.notices: tuple[str, ...] = ()  # what the person who waits should know
        self._run = run

    @torch.inference_mode()
    def forward(self, images: Tensor, mask: Tensor | None = None) -> DetectorOutput:
        """Detect objects.

        Args:
            images: (B, 3, H, W) float32, normalised, padding zero.
            mask: (B, H, W) bool, True where an image is padded; None if nothing is.

        Returns:
            As DeformableDETR. In 16 bits the logits are of that type, the boxes float32.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        casting: Any = contextlib.nullcontext()
        if self.precision != "fp32":
            casting = torch.autocast(images.device.type, _DTYPES[self.precision])
        with casting:
            output: DetectorOutput = self._run(images, mask)
        return output


def inference_form(
    model: DeformableDETR, *, precision: Precision = "fp32", compile: bool = False
) -> InferenceForm:
    """Make the inference form of a detector, which stays as it is.

    Batch norms become part of the convolutions in front of them and feature maps lie with their
    channels last, from the pixels to the projections.

    Args:
        model: the detector, on the device where its form shall be.
        precision: of the matrix products and convolutions; in float32 the answers differ by the
            rounding of other orders of summing alone.
        compile: let torch.compile rewrite the network for the machine. The first call for a size
            of images then takes minutes; PyTorch keeps what it compiles in its cache folder.

    Raises:
        ValueError: the precision is unknown, or there is no C++ compiler to compile with.
    """
    if precision not in ("fp32", *_DTYPES):
        raise ValueError(f"precision must be fp32, bf16 or fp16, got {precision!r}")
    network = deepcopy(model).eval().requires_grad_(False)
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, *_TRIAL_HW, generator=generator).to(device)
    network.backbone[0] = fold_batch_norms(network.backbone[0], noise)
    use_fast_layers(network)
    form = InferenceForm(network, precision, _compiled(network) if compile else network)
    form.notices = (*_slow_precision(precision, device), *([_COMPILING] if compile else []))
    return form


def _slow_precision(precision: Precision, device: torch.device) -> list[str]:
    """Say that a processor has no instructions for a precision, which is slower there than fp32."""
    find: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    found = find() if device.type == "cpu" and precision in _INSTRUCTIONS else {}
    if not found or any(found.get(name) for name in _INSTRUCTIONS[precision]):
        return []
    return [f"this processor has no instructions for {precision}: fp32 is faster on it"]


def _compiled(network: nn.Module) -> Any:
    compiler, *_ = shlex.split(os.environ.get("CXX", "")) or ["g++"]  # it may be `ccache g++`
    if shutil.which(compiler) is None:
        raise ValueError(
            f"compile needs a C++ compiler and there is no {compiler!r}: install one (g++), name "
            "it by the variable CXX, or leave compile off"
        )
    return torch.compile(network, options={"freezing": True})
