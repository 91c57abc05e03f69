"""Looking up a key path in the config models: its types, and the nearest known key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ddetr_cli.spec.tree import KeyPath, dotted
from ddetr_train import GroupNames

Model = type[BaseModel]
# Keys of the models that no spec may hold, because another key decides them.
DERIVED_KEYS: frozenset[KeyPath] = frozenset(
    {
        ("model", "num_classes"),
        ("train", "max_detections"),
        ("export", "max_detections"),
        *(("train", "optim", name) for name in GroupNames.model_fields),
    }
)
_TEXTS = {str, Path, SecretStr}
_NUMBERS = {int, float, bool}
_LONGEST_NAME = 60  # characters of what may be a mistyped name
# Least likeness of a suggestion, from 0 to 1.
_LIKE_A_SIBLING, _LIKE_ANOTHER, _ALMOST_THE_SAME = 0.6, 0.72, 0.9


def is_model(annotation: Any) -> bool:
    """Whether an annotation is a config model, a block of keys."""
    return _is_class(annotation) and issubclass(annotation, BaseModel)


def arms(annotation: Any) -> list[Any]:
    """List the members of a union: of `int | None` int and NoneType."""
    if get_origin(annotation) is Annotated:
        return arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [arm for member in get_args(annotation) for arm in arms(member)]
    return [annotation]


def arms_at(model: Model, path: KeyPath) -> list[Any]:
    """List the types that a value at the path may have; none for an unknown path."""
    found: list[Any] = [model]
    for key in path:
        found = [arm for outer in found for inner in _step(outer, key) for arm in arms(inner)]
    return found


def is_block(model: Model, path: KeyPath) -> bool:
    """Whether the path holds a block of keys with its own config model."""
    return any(is_model(arm) for arm in arms_at(model, path))


def is_text_only(model: Model, path: KeyPath) -> bool:
    """Whether a bare value at the path can only be text, so that 0123 must stay "0123"."""
    leaves = {leaf for arm in arms_at(model, path) for leaf in _leaves(arm)}
    return bool(leaves & _TEXTS) and not leaves & _NUMBERS


def is_list(model: Model, path: KeyPath) -> bool:
    """Whether the path can hold a list."""
    return any(get_origin(arm) is tuple for arm in arms_at(model, path))


def takes_bool(model: Model, path: KeyPath) -> bool:
    """Whether true and false are values of the path; an unknown path is left to the models."""
    found = arms_at(model, path)
    return not found or any(bool in _leaves(arm) for arm in found)


def takes_null(model: Model, path: KeyPath) -> bool:
    """Whether null is a value of its own at the path, and not the word for "not given".

    In a list it is never that: which of its entries keeps a default?
    """
    found = arms_at(model, path)
    in_list = bool(path) and isinstance(path[-1], int) and not is_free_text(model, path)
    return type(None) in found or not found or in_list


def takes_number(model: Model, path: KeyPath) -> bool:
    """Whether the path holds a number, and no text beside it but one of a few choices."""
    leaves = {leaf for arm in arms_at(model, path) for leaf in _leaves(arm)}
    return bool(leaves & {int, float}) and not is_free_text(model, path)


def is_free_text(model: Model, path: KeyPath) -> bool:
    """Whether the path holds free text, such as a name or a path, and not one of a few choices."""
    open_arms = [arm for arm in arms_at(model, path) if get_origin(arm) is not Literal]
    return any(_leaves(arm) & {str, Path} for arm in open_arms)


def known_keys(model: Model, prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Yield every key of the model and of the blocks inside it, save derived ones.

    Lists of blocks show index 0.
    """
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        if path in DERIVED_KEYS:
            continue
        yield path, field
        for arm in arms(field.annotation):
            if is_model(arm):
                yield from known_keys(arm, path)
            elif get_origin(arm) is tuple and is_model(get_args(arm)[0]):
                yield from known_keys(get_args(arm)[0], (*path, 0))


def nearest_key(model: Model, path: KeyPath) -> str | None:
    """Name the known key most like an unknown one: a sibling first, then anywhere in the spec."""
    everywhere = [known for known, _ in known_keys(model)]
    if dotted(path) in map(dotted, everywhere):
        return dotted(path)  # a key of a block, written with a dot
    name, parent = _in_our_words(str(path[-1])), _without_indices(path[:-1])
    if len(name) > _LONGEST_NAME:
        return None
    siblings = {
        str(known[-1]): known for known in everywhere if _without_indices(known[:-1]) == parent
    }
    keys = [known for known in everywhere if len(path) == 1 or not is_block(model, known)]
    last_names = {str(known[-1]): dotted(known) for known in reversed(keys)}
    nearly = _most_like(name, last_names, _ALMOST_THE_SAME)
    found = _most_like(name, siblings, _LIKE_A_SIBLING if nearly is None else _ALMOST_THE_SAME)
    if found is not None:
        return dotted((*path[:-1], found))
    namesakes = [known for known in everywhere if known[-1] == name]
    if namesakes:
        return dotted(min(namesakes, key=len))
    if nearly is not None:
        return last_names[nearly]
    dotted_found = _most_like(dotted(path), map(dotted, keys), _LIKE_ANOTHER)
    if dotted_found is not None:
        return dotted_found
    found = _most_like(name, last_names, _LIKE_ANOTHER)
    return None if found is None else last_names[found]


def _in_our_words(name: str) -> str:
    """Write a name as our keys are: dataset_config as dataset."""
    return name.lower().replace("-", "_").removesuffix("_config")


def _in_long(name: str) -> str:
    """Write out what a key shortens: lr_backbone as learning_rate_backbone."""
    return "_".join("learning_rate" if word == "lr" else word for word in name.split("_"))


def _most_like(name: str, candidates: Iterable[str], least: float) -> str | None:
    """Pick the likest candidate; a whole word of it, as opset of opset_version, is quite like."""

    def likeness(candidate: str) -> float:
        forms = {candidate, _in_long(candidate)}
        ratio = max(difflib.SequenceMatcher(None, name, form).ratio() for form in forms)
        has_word = name in candidate.split("_") or candidate in name.split("_")
        return max(ratio, _LIKE_ANOTHER) if has_word else ratio

    best = max(candidates, key=likeness, default=None)
    return best if best is not None and likeness(best) >= least else None


def _step(annotation: Any, key: str | int) -> list[Any]:
    if is_model(annotation) and isinstance(key, str):
        field = annotation.model_fields.get(key)
        return [] if field is None else [field.annotation]
    if get_origin(annotation) is tuple:
        element = get_args(annotation)[0]
        return [element] if isinstance(key, int) else _step(element, key)  # a list of one, bare
    if get_origin(annotation) is dict:
        return [get_args(annotation)[1]]
    return []


def _leaves(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) is tuple:
        return {leaf for arm in arms(get_args(annotation)[0]) for leaf in _leaves(arm)}
    return {annotation} if _is_class(annotation) else set()


def _is_class(annotation: Any) -> bool:
    # Python 3.10 takes dict[str, float] for a class.
    return isinstance(annotation, type) and get_origin(annotation) is None


def _without_indices(path: KeyPath) -> tuple[str, ...]:
    return tuple(key for key in path if isinstance(key, str))
