"""PyTorch's private names: no other module asks for one, and this one asks once, at import.

Any of them may go away with a release of PyTorch. What needs it is then done another way with the
same numbers, or refused by PyTorch, and doctor() says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

_WATCHERS = (
    "torch._C._len_torch_dispatch_stack",  # modes: fake tensors, make_fx, counters
    "torch._C._are_functorch_transforms_active",  # vmap, grad
    "torch.autograd.forward_ad._current_level",  # dual tensors
)
# The dispatch key where an operator's calls arrive while a transform of torch.func is active.
TRANSFORM_KEY = "FuncTorchDynamicLayerFrontMode"


def _find(path: str) -> Any:
    """The object of that name; None if it is missing."""
    found: Any = torch
    for name in path.split(".")[1:]:
        found = getattr(found, name, None)
    return found


_count_modes, _transforms_are_active, _level = map(_find, _WATCHERS)
MISSING_WATCHERS = tuple(path for path in _WATCHERS if _find(path) is None)
if _find(f"torch._C.DispatchKey.{TRANSFORM_KEY}") is None:
    TRANSFORM_KEY = ""

# Without that name nobody can tell: they are taken to be active, which is slower and never wrong.
transforms_are_active: Callable[[], bool] = _transforms_are_active or (lambda: True)


def tangents_may_exist() -> bool:
    """Whether there may be dual tensors."""
    return _level is None or forward_ad._current_level >= 0


def nobody_watches() -> bool:
    """Whether nothing counts, traces or transforms the calls on the CPU of this moment.

    Autocast need not see one: it would widen 16-bit locations and weights, of which a direct call
    takes none.
    """
    return not (
        MISSING_WATCHERS
        or is_dynamo_compiling()
        or _count_modes()
        or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        or transforms_are_active()
        or tangents_may_exist()
    )
