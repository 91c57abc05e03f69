"""The name under which projects import the compiled extension of the original."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType

from ddetr_ops.dropin import original

_FUNCTIONS = ("ms_deform_attn_forward", "ms_deform_attn_backward")
_NAMES = ("MultiScaleDeformableAttention",)
_TAKEN_BY_MORE = "mmcv._ext"


def install(*names: str, replace: bool = False) -> tuple[ModuleType, ...]:
    """Let `import MultiScaleDeformableAttention` give the operator, in this process.

    Call it before the project is imported. What is installed under that name but was not imported
    yet stays unread. `pip install "ddetr-ops[dropin]"` does the same for every process.

    Args:
        names: modules to stand for; none means MultiScaleDeformableAttention, which the original,
            DINO and Mask2Former import. GroundingDINO's is groundingdino._C.
        replace: whether modules of these names that were imported already give way.

    Returns:
        The modules, in the order of the names.

    Raises:
        ImportError: another module of that name was imported already, and whoever did would keep
            it; or the name is mmcv._ext, from which mmcv takes much more than two functions.
    """
    chosen = names or _NAMES
    for name in chosen:
        if name == _TAKEN_BY_MORE:
            raise ImportError(
                f"{name} has many more functions than these two: take the layer of "
                "ddetr_ops.dropin.mmcv, or ddetr_ops.patch(model)"
            )
        found = sys.modules.get(name)
        if found is not None and not _is_ours(found) and not replace:
            where = getattr(found, "__file__", None) or "memory"
            raise ImportError(
                f"{name} was imported already, from {where}: call install() earlier, or pass "
                "replace=True, which does not reach who imported it"
            )
    return tuple(_put(name) for name in chosen)


def _is_ours(module: ModuleType) -> bool:
    return all(getattr(module, name, None) is getattr(original, name) for name in _FUNCTIONS)


def _put(name: str) -> ModuleType:
    found = sys.modules.get(name)
    if found is not None and _is_ours(found):
        return found
    module = ModuleType(name, original.__doc__)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=original.__file__)
    for function in _FUNCTIONS:
        setattr(module, function, getattr(original, function))
    sys.modules[name] = module
    package, _, last = name.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], last, module)
    return module
