"""The compiled part, and how it is called: with (address, dtype, sizes) of contiguous tensors.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

try:
    import ddetr_ops._core as core
except ImportError as error:
    core = None  # type: ignore[assignment]
    CPU_PROBLEM = f"this build of ddetr-ops has no native part ({error})"
    READS_TENSORS = False
else:
    CPU_PROBLEM = ""
    # Whether torch publishes DLPack's exchange table: then the core can read tensors themselves.
    READS_TENSORS = core.read_tensors_of(Tensor, nn.Parameter)

__all__ = ["CPU_PROBLEM", "READS_TENSORS", "Inputs", "array", "core", "memory_like"]

_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
}


def array(tensor: Tensor) -> tuple[int, str, tuple[int, ...]]:
    """Address, dtype and sizes of a contiguous tensor; the caller keeps the tensor alive."""
    return tensor.data_ptr(), _DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype)), tensor.shape


def memory_like(wanted: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Memory for gradients: kernels write all of it, but nothing where an input is empty."""
    make = torch.empty_like if all(tensor.numel() for tensor in inputs) else torch.zeros_like
    return [make(tensor) for tensor in wanted]


class Inputs(NamedTuple):
    """The operator's arguments as the core takes them: levels as lists, or on a GPU as tensors."""

    value: Tensor  # (B, S, M, D)
    spatial_shapes: Tensor | list[Any]  # (L, 2)
    level_start_index: Tensor | list[Any]  # (L,)
    sampling_locations: Tensor  # (B, Q, M, L, P, 2)
    attention_weights: Tensor  # (B, Q, M, L, P)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What has a gradient: value (B, S, M, D), locations and weights."""
        return self.value, self.sampling_locations, self.attention_weights

    def forward(self, kernel: Callable[..., None], *where: object) -> Tensor:
        """Call a forward kernel; its output, (B, Q, M * D)."""
        value, locations = self.value, self.sampling_locations
        make = value.new_empty if locations.numel() else value.new_zeros
        output = make(value.shape[0], locations.shape[1], value.shape[2:].numel())
        kernel(*self._arrays(), array(output), *where)
        return output

    def backward(
        self,
        kernel: Callable[..., None],
        grad_output: Tensor,  # (B, Q, M*D)
        gradients: Sequence[Tensor],  # memory for those of `tensors`
        *where: object,
    ) -> tuple[Tensor, ...]:
        """Call a backward kernel with a gradient of (B, Q, M * D); gives the filled memory."""
        kernel(array(grad_output), *self._arrays(), *map(array, gradients), *where)
        return tuple(gradients)

    def _arrays(self) -> tuple[Any, ...]:
        value, locations, weights = map(array, self.tensors)
        levels = [it.data_ptr() if isinstance(it, Tensor) else it for it in self[1:3]]
        return value, *levels, locations, weights
