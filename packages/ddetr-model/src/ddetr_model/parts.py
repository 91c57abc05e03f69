"""Which parts of a network come from outside of this package, by the names of their classes.

A checkpoint carries tensors and a config, never code. Of a network with parts of one's own it also
says what they are called, so that nobody takes it for the stock network, whose tensors may have the
same names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from ddetr_model.backbones import Backbone
from ddetr_ops import MSDeformAttn

__all__ = ["check_export_form", "described", "parts_from_outside", "refuse_parts_from_outside"]

OURS = {
    "ddetr_model",
    "ddetr_ops",
    "timm",
    "torch",
    "torchvision",
}  # what stock networks are made of


def parts_from_outside(network: nn.Module) -> dict[str, str]:
    """Name the class of each part that is not stock, by the part's name without numbers.

    Returns:
        Such as {"backbone": "mine.Patches", "transformer.decoder.layers": "mine.GatedLayer"}; the
        network's own class is of the part "network". Empty for a stock network.
    """
    parts: dict[str, str] = {}
    outside: list[str] = []
    for name, module in network.named_modules():
        if any(name.startswith(f"{outer}.") for outer in outside):
            continue
        kind = _class_from_outside(module)
        if kind is not None:
            parts[re.sub(r"\.\d+(?=\.|$)", "", name) or "network"] = kind
            outside += [name] if name else []
    return parts


def described(parts: Mapping[str, str]) -> str:
    """Write parts and their classes for a sentence."""
    return ", ".join(f"{part} is {kind}" for part, kind in parts.items())


def refuse_parts_from_outside(network: nn.Module, layout: str) -> None:
    """Keep a network from a layout that only says what stock networks are.

    Raises:
        ValueError: it has parts from outside.
    """
    if parts := parts_from_outside(network):
        raise ValueError(
            f"{layout} has no word for parts from outside ({described(parts)}), and whoever reads "
            "it would compute something else: use save_checkpoint"
        )


def check_export_form(network: nn.Module) -> None:
    """Refuse a network, every part of which has taken its plain form, that cannot be written.

    Raises:
        ValueError: an attention is left whose operator no exporter knows.
    """
    for name, module in network.named_modules():
        for child, attention in module.named_children():
            if isinstance(attention, MSDeformAttn):
                raise ValueError(
                    f"{name} ({_qualified_name(module)}) cannot be exported: no exporter can write "
                    f"its MSDeformAttn {child}; give it an export_form(forms) that puts "
                    f"forms.deformable_attention(self.{child}) there and returns it"
                )


def _class_from_outside(module: nn.Module) -> str | None:
    if isinstance(module, Backbone) and module.name is None:
        return _qualified_name(module.body)
    name = _qualified_name(module)
    return None if name.partition(".")[0] in OURS else name


def _qualified_name(module: nn.Module) -> str:
    """Name a module's class, behind the one that FSDP puts in front of it."""
    classes = type(module).__mro__
    own = next(kind for kind in classes if not kind.__module__.startswith("torch.distributed."))
    return f"{own.__module__}.{own.__qualname__}"
