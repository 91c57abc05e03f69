"""What an operator of torch.ops.ddetr_ops consists of: schema, shapes, derivative, kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ddetr_ops._functorch import support_transforms
from ddetr_ops._native import problem_on

_torch_library: Any = torch.library  # untyped
_library = _torch_library.Library("ddetr_ops", "DEF")


def register(
    schema: str,
    *,
    fake: Callable[..., Any],
    differentiate: Callable[..., Any],
    keep: Callable[..., None] | None = None,
    unbatched: Mapping[int, str],
    kernels: Mapping[str, Callable[..., Any]],
    tags: tuple[torch.Tag, ...] = (),
) -> Any:
    """Register an operator whose inputs and outputs begin with the images, (B, ...).

    Args:
        schema: its name and what it takes and gives.
        fake: makes outputs of the right shape.
        differentiate: its derivative, as torch.library.register_autograd takes it.
        keep: its setup_context, likewise.
        unbatched: index and name of inputs that are the same for all images: sizes of the levels,
            their starts.
        kernels: by dispatch key; left out where the native part is not built.
        tags: promises beyond the one that compilers may take it as it is.

    Returns:
        Its overload, torch.ops.ddetr_ops.<name>.default.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag, *tags))
    operator = getattr(torch.ops.ddetr_ops, name).default
    _torch_library.register_fake(operator, fake, lib=_library)
    _torch_library.register_autograd(operator, differentiate, setup_context=keep, lib=_library)
    support_transforms(
        _library, operator, differentiate=differentiate, keep=keep, unbatched=unbatched
    )
    for key, kernel in kernels.items() if not problem_on("cpu") else ():
        _library.impl(name, kernel, key)
    return operator


def without_derivative(text: str) -> Callable[..., tuple[Tensor, ...]]:
    """A derivative that raises RuntimeError with this text: second ones are not written."""

    def refuse(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG001
        raise RuntimeError(text)

    return refuse


def new_like(*indices: int) -> Callable[..., tuple[Tensor, ...]]:
    """A fake that gives outputs of the shapes of these inputs."""

    def make(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(inputs[index].new_empty(inputs[index].shape) for index in indices)

    return make
