"""Least scores of detections by the names of classes, as a spec or a caller writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TypeAlias

from ddetr_data.categories import ids_by_name
from ddetr_data.thresholds import ClassThresholds, Threshold
from ddetr_data.types import Category

WrittenThreshold: TypeAlias = "float | Mapping[str, float] | ClassThresholds"

OTHERS = "default"  # in a block of thresholds: of every class that it does not name
_NO_ID = -1
_SHOWN = 8  # class names that a sentence lists


def class_thresholds(
    written: WrittenThreshold,
    categories: Sequence[Category],
    usual: float,
    key: str = "conf_threshold",
) -> Threshold:
    """Give least scores by the ids of a detector's classes.

    Args:
        written: One number, or numbers by class: by its name, as `compare_categories` compares
            names, else by its id written as text. `default` is that of all other classes. What
            this function gave stays as it is.
        categories: The detector's classes.
        usual: For other classes where there is no `default`.
        key: What the sentence of an error calls it.

    Raises:
        ValueError: a class that the detector does not have, or a number outside of 0 to 1.
    """
    if isinstance(written, ClassThresholds):
        return written
    if not isinstance(written, Mapping):
        return _checked(written, key)
    by_label: dict[int, float] = {}
    for name, least in written.items():
        if name != OTHERS:
            ids = _ids_of(name, categories, key)
            by_label |= dict.fromkeys(ids, _checked(least, f"{key} of class {name!r}"))
    return ClassThresholds(_checked(written.get(OTHERS, usual), f"{key} {OTHERS}"), by_label)


def _ids_of(name: str, categories: Sequence[Category], key: str) -> list[int]:
    """All ids of a name; the id itself, where no class has such a name."""
    if exact := [each.id for each in categories if each.name == name]:
        return exact
    known = {each.id for each in categories}
    similar = ids_by_name(categories, [Category(_NO_ID, name)]).get(_NO_ID)
    if similar in known:
        return [similar]
    if name.isascii() and name.isdigit() and (int(name) in known or not known):
        return [int(name)]
    names = [each.name for each in categories]
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else _listed(names)
    raise ValueError(f"{key} names the class {name!r}, which the model does not have; {hint}")


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "it has no names of classes, give their ids"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _checked(least: float, key: str) -> float:
    if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
        raise ValueError(f"{key} must be a number from 0 to 1, got {least}")
    return float(least)
