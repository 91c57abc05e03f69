"""A spec that Python code gives: dicts, lists, numbers, texts and paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ddetr_cli.spec.tree import DEEPEST, KeyPath, Origin, SpecError, SpecTree, dotted


def tree_of_values(values: Mapping[str, Any], name: str, into: SpecTree | None = None) -> SpecTree:
    """Give a spec's tree of plain values, or lay them over one: dicts merge, all else is replaced.

    Args:
        values: Blocks and keys; they are copied. A path becomes its text, a tuple a list, a number
            of NumPy's Python's own.
        name: What errors call their source.
        into: The tree to change.

    Raises:
        SpecError: a key is no text, a value is none of these, or one nests too deep.
    """
    tree = SpecTree() if into is None else into
    for key, value in values.items():
        origins: dict[KeyPath, Origin] = {}
        path = _path_of(key, (), name)
        tree.assign(path, _plain(value, path, name, origins), origins)
    return tree


def _plain(value: Any, path: KeyPath, name: str, origins: dict[KeyPath, Origin]) -> Any:
    if len(path) > DEEPEST:
        raise SpecError(f"{name}: a block refers to itself, or nests deeper than {DEEPEST} levels")
    origins[path] = Origin(name)
    if isinstance(value, Mapping):
        return {
            key: _plain(child, _path_of(key, path, name), name, origins)
            for key, child in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(child, (*path, at), name, origins) for at, child in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value).__name__
    raise SpecError(f"{dotted(path)} must be plain data, such as a number or a text, got {kind}")


def _path_of(key: Any, path: KeyPath, name: str) -> KeyPath:
    if not isinstance(key, str):
        around = f"{dotted(path)}: " if path else ""
        raise SpecError(f"{around}a key must be text, got {key!r} ({name})")
    return (*path, key)
