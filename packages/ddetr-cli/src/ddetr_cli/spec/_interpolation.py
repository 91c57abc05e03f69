"""`${a.b}`: a value taken from another key. Nothing is evaluated and no environment is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted, merged

_RESOLVER = re.compile(r"\$\{[^}]*?:")
_SECRET = re.compile(r"\$\{[^}]*encryption_key")


def interpolate(tree: SpecTree, defaults: Mapping[str, Any]) -> None:
    """Replace every `${a.b}` by the value of that key: the override's, the file's or the default.

    Raises:
        SpecError: the key does not exist, or the braces ask for anything but a key.
    """
    texts = [(path, text) for path, text in _texts(tree.values, ()) if "${" in text]
    if not texts:
        return
    for path, text in texts:
        if _RESOLVER.search(text):
            raise SpecError(_fault(tree, path, f"{text} asks for more than a key; write ${{a.b}}"))
        if _SECRET.search(text) and path != ("encryption_key",):
            raise SpecError(_fault(tree, path, "encryption_key is a secret and goes nowhere else"))
    tree.values = _resolve(tree, defaults)


def _resolve(tree: SpecTree, defaults: Mapping[str, Any]) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        whole = OmegaConf.create(merged(defaults, tree.values))
        resolved = OmegaConf.to_container(whole, resolve=True)
    except OmegaConfBaseException as error:
        path = tuple(re.findall(r"[^.\[\]]+", error.full_key or ""))
        raise SpecError(_fault(tree, tree.locate(path), _reason(error))) from None
    chosen: dict[str, Any] = _chosen(tree.values, resolved)
    return chosen


def _reason(error: Exception) -> str:
    from omegaconf.errors import GrammarParseError, InterpolationKeyError

    text = str(error).splitlines()[0]
    if isinstance(error, InterpolationKeyError):
        name = text.partition("'")[2].partition("'")[0]
        outside = "; the environment is not read" if name.isupper() else ""
        return f"{name} in ${{...}} is no key of the spec{outside}"
    if isinstance(error, GrammarParseError):
        return "a ${ must become ${block.key}"
    return text


def _texts(node: Any, path: KeyPath) -> list[tuple[KeyPath, str]]:
    if isinstance(node, str):
        return [(path, node)]
    if not isinstance(node, (dict, list)):
        return []
    children = node.items() if isinstance(node, dict) else enumerate(node)
    return [found for key, child in children for found in _texts(child, (*path, key))]


def _chosen(written: Any, resolved: Any) -> Any:
    """Keep of the resolved values those that were written, so that defaults stay defaults."""
    if isinstance(written, dict) and isinstance(resolved, dict):
        return {key: _chosen(value, resolved[key]) for key, value in written.items()}
    return resolved


def _fault(tree: SpecTree, path: KeyPath, reason: str) -> str:
    return f"{dotted(path)}: {reason} ({tree.location_of(path)})"
