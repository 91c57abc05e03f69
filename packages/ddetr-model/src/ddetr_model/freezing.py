"""Parts of a model that shall not learn, chosen by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

__all__ = ["freeze_modules"]


def freeze_modules(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Stop the named modules or parameters from learning.

    Args:
        model: any module.
        names: dotted names such as "backbone" or "transformer.encoder".

    Returns:
        Names of the parameters that this has frozen.

    Raises:
        ValueError: a name is neither a module nor a parameter; the text offers the nearest.
    """
    modules = {name for name, _ in model.named_modules(remove_duplicate=False) if name}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    known = modules | parameters.keys()
    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.3)
            raise ValueError(
                f"freeze names {name!r}, which the model does not have; "
                f"the nearest are {', '.join(nearest) or 'none'}"
            )
    chosen = [
        parameter
        for parameter in parameters
        if any(parameter == name or parameter.startswith(f"{name}.") for name in names)
    ]
    frozen = [name for name in chosen if parameters[name].requires_grad]
    for name in chosen:
        parameters[name].requires_grad_(False)
    return frozen
