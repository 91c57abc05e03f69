"""Products of matrices by oneDNN where MKL is slow.

PyTorch multiplies float32 matrices on the CPU by MKL, which uses the widest vector units on Intel's
processors alone; oneDNN uses those of any. PyTorch has oneDNN's product under a private name;
without it everything stays as it is.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["use_one_dnn"]


_product: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def use_one_dnn(network: nn.Module) -> None:
    """Let oneDNN compute a network's linear layers and pointwise convolutions, if it is faster.

    Only for a network that computes in float32 on the CPU, and without gradients.
    """
    if _product is None or not torch.backends.mkldnn.is_available() or _is_intel():  # type: ignore[no-untyped-call]
        return
    for module in network.modules():
        # Another class is all that changes: tensors, names and hooks stay.
        if type(module) is nn.Linear:
            module.__class__ = _Linear
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = _PointwiseConv2d


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # (..., in_features)
        return _linear(input, self.weight, self.bias)  # (..., out_features)


class _PointwiseConv2d(nn.Conv2d):
    """A convolution of single pixels, which is a product where channels lie last."""

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W)
        pixels = input.permute(0, 2, 3, 1)
        return _linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _is_intel() -> bool:
    listing = Path("/proc/cpuinfo")
    return "GenuineIntel" in (listing.read_text() if listing.exists() else platform.processor())


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == convolution.stride == (1, 1)
        and convolution.padding in ((0, 0), "valid", "same")
        and convolution.groups == 1
    )


def _linear(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # The compiler has rules for this product that hold for packed weights alone.
    multiply = _hidden_product if torch.compiler.is_compiling() else _multiply
    output: Tensor = multiply(features, weight, bias)
    return output


def _multiply(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _product is None or not features.is_cpu or features.dtype != torch.float32:
        return F.linear(features, weight, bias)
    return _product(features, weight, bias, "none", [], "")


@torch.library.custom_op("ddetr_model::linear", mutates_args=())
def _hidden_product(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _multiply(features, weight, bias)


@_hidden_product.register_fake
def _(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return features.new_empty(*features.shape[:-1], weight.shape[0])
