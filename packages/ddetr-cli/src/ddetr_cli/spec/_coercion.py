"""Turning written values into what they mean: not given, text as it was typed, a home folder.

YAML gives `0123` or `yes` a type that a key of text does not want, and templates hold marks for
values that are still to be given.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ddetr_cli.spec._usable_values import (
    refuse_leading_zeros,
    refuse_unusable_key,
    refuse_unusable_text,
)
from ddetr_cli.spec.schema import is_block, is_free_text, is_text_only, takes_bool, takes_null
from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted

_TO_BE_GIVEN = "???"  # omegaconf's mark for a value that an override is to supply
_SECRET: KeyPath = ("encryption_key",)
_VARIABLE = re.compile(r"\$[A-Za-z_]\w*(?=/|$)")

_NOT_GIVEN = object()  # marks a value whose key keeps its default


def settle(tree: SpecTree, model: type[BaseModel]) -> None:
    """Drop values that are not given, keep text as it was typed, expand `~` to the home folder.

    Not given are `???`, the empty text that templates have for names and paths, null where the
    key has no null of its own, and a block or a list in which nothing was given.

    Raises:
        SpecError: a path begins with an environment variable; a number is written so that it may be
            two, or too large; a text is none that a file's name can hold.
    """

    def settled(node: Any, path: KeyPath) -> Any:
        if isinstance(node, (dict, list)):
            children = node.items() if isinstance(node, dict) else enumerate(node)
            for key in node if isinstance(node, dict) else ():
                refuse_unusable_key(key, path, tree)
            kept = {key: settled(child, (*path, key)) for key, child in children}
            kept = {key: child for key, child in kept.items() if child is not _NOT_GIVEN}
            if node and not kept:
                return _NOT_GIVEN
            return kept if isinstance(node, dict) else list(kept.values())
        if node is None:
            is_absent = is_block(model, path) or not takes_null(model, path)
            return _NOT_GIVEN if is_absent else None
        return _settled_scalar(node, path, tree, model)

    values = settled(tree.values, ())
    tree.values = {} if values is _NOT_GIVEN else values


def _settled_scalar(value: Any, path: KeyPath, tree: SpecTree, model: type[BaseModel]) -> Any:
    origin = tree.origins.get(path)
    if value == _TO_BE_GIVEN:
        return _NOT_GIVEN
    if isinstance(value, bool) and not takes_bool(model, path):
        return origin.text if origin and origin.text else str(value).lower()
    refuse_leading_zeros(value, path, tree, model)
    if not isinstance(value, str):
        if not is_text_only(model, path):
            return value
        return origin.text if origin and origin.text is not None else str(value)
    refuse_unusable_text(value, path, tree)
    is_name = is_free_text(model, path)
    if value == "" and (is_name or path == _SECRET) and origin is not None and origin.in_file:
        return _NOT_GIVEN
    return _without_home(value, path, tree) if is_name else value


def _without_home(text: str, path: KeyPath, tree: SpecTree) -> str:
    """Expand a leading `~`; refuse a leading environment variable, since none is read."""
    variable = _VARIABLE.match(text)
    if variable is not None:
        raise SpecError(
            f"{dotted(path)}: the environment is not read, so {variable.group()} stays a word; "
            f"write the folder itself ({tree.location_of(path)})"
        )
    return str(Path(text).expanduser()) if text == "~" or text.startswith("~/") else text
