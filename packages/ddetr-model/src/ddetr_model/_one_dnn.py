"""Products of matrices by oneDNN where MKL is slow.

PyTorch multiplies float32 matrices on the CPU by MKL, which uses vectors of 512 bits on Intel's
processors alone; oneDNN uses them on any that has them. PyTorch has oneDNN's product under a
private name; without it everything stays as it is.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.library import custom_op

__all__ = ["use_one_dnn"]

_private_product: Callable[..., Tensor] | None = getattr(
    torch.ops.mkldnn, "_linear_pointwise", None
)
# Multiply-adds below which PyTorch's own is taken: a call of the private product, through Python
# and with the weights laid out anew, takes some 60 us more, found on a processor with AVX2.
_WORTHWHILE = 1 << 22


def use_one_dnn(network: nn.Module) -> None:
    """Let oneDNN compute a network's linear layers and pointwise convolutions, where it is faster.

    They do so in float32 on the CPU and are else as before.
    """
    has_one_dnn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if _private_product is None or not has_one_dnn or not _has_wider_vectors_than_mkl_uses():
        return
    for module in network.modules():
        # Another class is all that changes: tensors, names and hooks stay.
        if type(module) is nn.Linear:
            module.__class__ = _Linear
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = _PointwiseConv2d


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # (..., in_features)
        return _owned(_linear(input, self.weight, self.bias))  # (..., out_features)


class _PointwiseConv2d(nn.Conv2d):
    """A convolution of single pixels, which is a product where channels lie last."""

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W)
        pixels = input.permute(0, 2, 3, 1)
        return _owned(_linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2))


class _LinearFunction(torch.autograd.Function):
    """A linear layer and its derivatives, all by oneDNN."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, weight)
        return _multiply(features, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        wants_features, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # (N, out_features)
        return (
            _multiply(grad, weight.t()) if wants_features else None,
            _weight_gradient(rows, features.flatten(0, -2)) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def _linear(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    is_float32 = features.is_cpu and features.dtype == weight.dtype == torch.float32
    if not is_float32 or features.numel() == 0 or torch.is_autocast_enabled("cpu"):
        return F.linear(features, weight, bias)
    multiply: Callable[..., Tensor] = _LinearFunction.apply
    if torch.compiler.is_compiling():
        # The compiler has rules for the product that hold for packed weights alone.
        multiply = F.linear if torch.is_grad_enabled() else _hidden_product
    elif features.numel() * weight.shape[0] < _WORTHWHILE:
        multiply = F.linear
    return multiply(features, weight, bias)


def _owned(output: Tensor) -> Tensor:
    """The same numbers as no view.

    An activation in place may follow a layer, and PyTorch refuses that for a view of what a
    function of Python gives.
    """
    if not output.requires_grad or torch.compiler.is_compiling():
        return output
    owned: Tensor = _SameMemory.apply(output)
    return owned


class _SameMemory(torch.autograd.Function):
    """A tensor of its own in the memory of one that nobody keeps."""

    @staticmethod
    def forward(ctx: Any, view: Tensor) -> Tensor:  # noqa: ARG004
        memory, start = view.untyped_storage(), view.storage_offset()
        return view.new_empty(0).set_(memory, start, view.shape, view.stride())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad


def _multiply(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Features (..., K) times the transpose of weight (N, K), plus bias (N,)."""
    assert _private_product is not None
    return _private_product(features, weight, bias, "none", [], "")


def _weight_gradient(
    rows: Tensor,  # (N, out_features)
    features: Tensor,  # (N, in_features)
) -> Tensor:  # (out_features, in_features)
    # Faster with the smaller side in front.
    if rows.shape[1] <= features.shape[1]:
        return _multiply(rows.t(), features.t())
    return _multiply(features.t(), rows.t()).t()


@custom_op("ddetr_model::linear", mutates_args=(), device_types="cpu")
def _hidden_product(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _multiply(features, weight, bias)


@_hidden_product.register_fake
def _(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return features.new_empty(*features.shape[:-1], weight.shape[0])


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == convolution.stride == (1, 1)
        and convolution.padding in ((0, 0), "valid", "same")
        and convolution.groups == 1
    )


def _has_wider_vectors_than_mkl_uses() -> bool:
    """Say whether this processor has 512 bits and another maker than Intel."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    listing = Path("/proc/cpuinfo")
    return "GenuineIntel" not in (listing.read_text() if listing.exists() else platform.processor())
