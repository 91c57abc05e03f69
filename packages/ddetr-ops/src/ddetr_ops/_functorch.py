"""What torch.func's transforms (grad, vjp, vmap) make of an operator.

torch.library.register_autograd does not serve them: they want a torch.autograd.Function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ddetr_ops._torch_private import TRANSFORM_KEY, tangents_may_exist


def support_transforms(
    library: Any,
    operator: Any,
    *,
    differentiate: Callable[..., Any],
    keep: Callable[..., None] | None = None,
    unbatched: Mapping[int, str],
) -> None:
    """Let transforms take an operator whose inputs and outputs begin with the images, (B, ...).

    vmap makes one call of all images.

    Args:
        library: the torch.library.Library that defines the operator.
        operator: its overload.
        differentiate: its derivative, as register_autograd takes it.
        keep: its setup_context, likewise.
        unbatched: index and name of inputs that are the same for all images: sizes of the levels,
            their starts.
    """
    if not TRANSFORM_KEY:
        return

    class Transformed(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Tensor) -> Any:
            return operator(*inputs)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> Any:
            for index, name in unbatched.items():
                if in_dims[index] is not None:
                    raise ValueError(f"vmap cannot run over {name}: it is the same for all images")
            folded = [
                tensor if index in unbatched else _fold(tensor, in_dims[index], info.batch_size)
                for index, tensor in enumerate(inputs)
            ]
            return _unfold(Transformed.apply(*folded), info.batch_size)

        setup_context = staticmethod(keep or _keep_nothing)
        backward = staticmethod(differentiate)

    library.impl(operator.name(), Transformed.apply, TRANSFORM_KEY)


def refuse_tangents(function: str, *tensors: Tensor) -> None:
    """Raise NotImplementedError for dual tensors, whose tangents operators drop in silence."""
    if torch.compiler.is_compiling() or not tangents_may_exist():
        return
    unpack: Any = forward_ad.unpack_dual
    if any(unpack(tensor).tangent is not None for tensor in tensors):
        raise NotImplementedError(
            f"{function} has no forward-mode derivative in its native kernels: call "
            f"{function}_reference"
        )


def _keep_nothing(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    pass


def _fold(tensor: Tensor, dim: int | None, size: int) -> Tensor:  # to (size * B, ...)
    batched = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return batched.reshape(size * batched.shape[1], *batched.shape[2:])


def _unfold(outputs: Any, size: int) -> tuple[Any, Any]:  # to (size, B, ...), with vmap's out_dims
    if isinstance(outputs, Tensor):
        return outputs.reshape(size, outputs.shape[0] // size, *outputs.shape[1:]), 0
    return tuple(_unfold(output, size)[0] for output in outputs), (0,) * len(outputs)
