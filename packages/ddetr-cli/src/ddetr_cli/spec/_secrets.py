"""Which values of a spec are secrets: the passphrase, and those of keys that look like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from ddetr_cli.masking import is_secret_name
from ddetr_cli.spec.schema import arms_at
from ddetr_cli.spec.tree import KeyPath, SpecTree

_NO_SECRETS = ("", "null", "none", "true", "false", "???")


def secrets_in(tree: SpecTree, model: type[BaseModel]) -> list[str]:
    """List what no sentence about the spec may repeat, however its key is mistyped.

    A name that the model knows, as that of a class in a colour map, is none of them.
    """
    found = {text for path, text in _scalars(tree.values, ()) if _is_secret(path, model)}
    found |= {
        origin.text
        for path, origin in tree.origins.items()
        if origin.text is not None and _is_secret(path, model)
    }
    return [text for text in found if text.lower() not in _NO_SECRETS]


def _is_secret(path: KeyPath, model: type[BaseModel]) -> bool:
    known = arms_at(model, path)
    if known:
        return SecretStr in known
    return any(isinstance(key, str) and is_secret_name(key) for key in path)


def _scalars(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, (dict, list)):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _scalars(child, (*path, key))
    elif node is not None:
        yield path, str(node)
