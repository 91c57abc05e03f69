"""Models of other projects that are built already: what computes their attention is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ddetr_ops.dropin._patched_classes import PatchedLayer, calls_ours, patched_class
from ddetr_ops.dropin._recognised import OUR_LAYERS, is_ours, project_of, replacement_of

_REPLACED_FORWARD = "its forward was replaced, by hooks or the like; patch the model before that"
_MARK = "sampling_offsets"  # the projection that every such layer has, and hardly another


@dataclass(frozen=True)
class Layer:
    """A layer of a model, as a report names it."""

    path: str  # as in named_modules
    class_name: str
    project: str
    reason: str = ""  # why it was left as it was

    def __str__(self) -> str:
        named = f"{self.path or '(the model)'}: {self.class_name} of {self.project}"
        return f"{named}: {self.reason}" if self.reason else named


@dataclass(frozen=True)
class PatchReport:
    """What patch() found in a model; str() and repr() list it, a layer a line."""

    replaced: tuple[Layer, ...]  # by this call
    kept: tuple[Layer, ...]  # ran on this package before
    left: tuple[Layer, ...]  # look like deformable attention, and could not be taken
    _changes: tuple[_Change, ...] = field(default=(), repr=False, compare=False)

    def __bool__(self) -> bool:
        """Whether any layer runs on this package now."""
        return bool(self.replaced or self.kept)

    def __str__(self) -> str:
        lines = [f"ddetr_ops.patch: {self._counts()}"]
        titles = {"replaced": self.replaced, "ran on ddetr-ops before": self.kept}
        for title, layers in {**titles, "left as they were": self.left}.items():
            lines += [f"{title}:", *(f"  {layer}" for layer in layers)] if layers else []
        return "\n".join(lines)

    __repr__ = __str__

    def undo(self) -> None:
        """Give the layers that this call replaced what they had before; a second time does nothing.

        Raises:
            RuntimeError: something else has changed one of them since; none is changed then.
        """
        for change in self._changes:
            change.check()
        for change in self._changes:
            change.undo()

    def _counts(self) -> str:
        if not (self.replaced or self.kept or self.left):
            return "this model has no multi-scale deformable attention"
        counts = f"{len(self.replaced)} replaced"
        if self.kept:
            counts += f", {len(self.kept)} ran on ddetr-ops before"
        return f"{counts}, {len(self.left)} left as they were"


@dataclass(frozen=True)
class _Change:
    """One attribute of a layer, `__class__` or a function that it holds."""

    path: str
    layer: nn.Module
    name: str
    before: Any
    after: Any

    def check(self) -> None:
        found = getattr(self.layer, self.name)
        if found is not self.before and found is not self.after:
            raise RuntimeError(
                f"{self.path or 'the model'} was changed after the patch "
                f"({self.name} is {found!r}): undo that first"
            )

    def make(self) -> None:
        setattr(self.layer, self.name, self.after)

    def undo(self) -> None:
        setattr(self.layer, self.name, self.before)


def patch(model: nn.Module) -> PatchReport:
    """Let the deformable attention of a model of another project run on this package.

    Layers of the original, DINO, Mask2Former, GroundingDINO, mmcv, Hugging Face transformers and of
    projects that took their functions over are found by what their code calls; none of these is
    imported. Parameters, hooks, device, dtype, mode, class names and keys of the state dict stay.
    Compiled and wrapped models are looked into. A second call changes nothing more.

    A UserWarning says so where nothing runs on this package afterwards, or where a layer that looks
    like deformable attention was left.

    Returns:
        What was replaced, what was left and why; its undo() takes the change back.

    Raises:
        TypeError: model is no torch.nn.Module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    replaced, kept, left, changes = [], [], [], []
    told: set[nn.Module] = set()
    for path, layer in model.named_modules():
        found = list(_changes_of(path, layer))
        if "forward" in vars(layer) and any(change.name == "__class__" for change in found):
            left.append(_named(path, layer, _REPLACED_FORWARD))
        elif found:
            replaced.append(_named(path, layer))
            changes += found
        elif _runs_on_this_package(layer):
            kept.append(_named(path, layer))
        else:
            continue
        told.add(layer)
    for path, layer in model.named_modules():
        if _MARK in dict(layer.named_children()) and told.isdisjoint((layer, *layer.children())):
            left.append(_named(path, layer, _why_left(layer)))
    for change in changes:
        change.make()
    report = PatchReport(tuple(replaced), tuple(kept), tuple(left), tuple(changes))
    if left or not report:
        warnings.warn(str(report), stacklevel=2)
    return report


def _changes_of(path: str, layer: nn.Module) -> Iterator[_Change]:
    if isinstance(layer, (PatchedLayer, *OUR_LAYERS, torch.jit.ScriptModule)):
        return
    layer_class = patched_class(type(layer))
    if layer_class is not None:
        yield _Change(path, layer, "__class__", type(layer), layer_class)
    for name, value in vars(layer).items():
        ours = replacement_of(value)
        if ours is not None:
            yield _Change(path, layer, name, value, ours)


def _runs_on_this_package(layer: nn.Module) -> bool:
    known = isinstance(layer, (PatchedLayer, *OUR_LAYERS))
    return known or any(map(is_ours, vars(layer).values())) or calls_ours(type(layer))


def _named(path: str, layer: nn.Module, reason: str = "") -> Layer:
    class_name = getattr(layer, "original_name", type(layer).__name__)  # of a scripted one
    return Layer(path, str(class_name), project_of(type(layer)), reason)


def _why_left(layer: nn.Module) -> str:
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is scripted or traced; patch the model before that"
    return "its code calls no function that is known to compute the attention"
