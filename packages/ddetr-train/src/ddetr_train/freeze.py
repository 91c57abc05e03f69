"""Modules that do not train."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn


def freeze_modules(model: nn.Module, names: Sequence[str]) -> int:
    """Take the gradient from every parameter of the named modules, or of that very name.

    Returns:
        The number of values that no longer train.

    Raises:
        ValueError: no module or parameter has the name; the nearest names are offered.
    """
    known = dict(model.named_modules()) | dict(model.named_parameters())
    frozen: dict[int, int] = {}
    for name in names:
        if not name or name not in known:
            raise ValueError(_unknown_name(name, [key for key in known if key]))
        found = known[name]
        for parameter in found.parameters() if isinstance(found, nn.Module) else [found]:
            parameter.requires_grad_(False)
            frozen[id(parameter)] = parameter.numel()
    return sum(frozen.values())


def _unknown_name(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return f"train.freeze names no module {name!r}; the nearest are {', '.join(near)}"
