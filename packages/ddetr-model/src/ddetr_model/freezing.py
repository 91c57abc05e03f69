"""Parts of a model that shall not learn, chosen by name, and what does not learn in the end."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ddetr_model.backbones import freeze_batch_norms
from ddetr_model.weights import COUNTER

__all__ = ["describe_frozen", "freeze_modules", "freeze_norms_as_in"]

_LIVE_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NAMES_SHOWN = 6


def freeze_modules(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Stop the named modules or parameters from learning; their batch norms keep their statistics.

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
                f"give another; the nearest are {', '.join(nearest) or 'none'}"
            )
    chosen = [
        parameter
        for parameter in parameters
        if any(parameter == name or parameter.startswith(f"{name}.") for name in names)
    ]
    frozen = [name for name in chosen if parameters[name].requires_grad]
    for name in chosen:
        parameters[name].requires_grad_(False)
    for name in modules.intersection(names):
        _freeze_norms(model, name)
    return frozen


def freeze_norms_as_in(model: nn.Module, tensors: Container[str]) -> None:
    """Freeze the batch norms that were frozen in the model that a file is of.

    Args:
        model: any module.
        tensors: names of the file's tensors; live batch norms have a counter of steps there.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and f"{name}{COUNTER}" not in tensors:
            _freeze_norms(model, name)


def describe_frozen(model: nn.Module) -> str:
    """Say in a few words what of a model does not train, by the largest modules."""
    parts = _frozen_parts(model, "", set())
    shown = ", ".join(parts[:_NAMES_SHOWN]) + (", ..." if len(parts) > _NAMES_SHOWN else "")
    said = [f"{shown} do not train" if parts else "everything trains"]
    norms = {
        "live": sum(isinstance(each, _LIVE_NORMS) for each in model.modules()),
        "frozen": sum(isinstance(each, FrozenBatchNorm2d) for each in model.modules()),
    }
    said += [f"{count} batch norms are {state}" for state, count in norms.items() if count]
    return ", ".join(said)


def _freeze_norms(model: nn.Module, name: str) -> None:
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, child, freeze_batch_norms(getattr(owner, child)))


def _frozen_parts(module: nn.Module, name: str, seen: set[nn.Module]) -> list[str]:
    """Name the largest modules of which nothing learns; one that has two names once."""
    parameters = list(module.parameters())
    if not parameters or module in seen:
        return []
    seen.add(module)
    if not any(each.requires_grad for each in parameters):
        return [name or "the whole model"]
    before = f"{name}." if name else ""
    own = module.named_parameters(recurse=False)
    parts = [f"{before}{each}" for each, value in own if not value.requires_grad]
    for child_name, child in module.named_children():
        parts += _frozen_parts(child, f"{before}{child_name}", seen)
    return parts
