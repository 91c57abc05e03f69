"""`${a.b}`: a value taken from another key. Nothing is evaluated and no environment is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ddetr_cli.masking import is_secret_name
from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted, merged, shortened

_RESOLVER = re.compile(r"\$\{[^}]*?:")
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_MOST_VALUES = 200_000  # characters and values that all references together may make


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
            raise SpecError(
                _fault(tree, path, f"{shortened(text)} asks for more than a key; write ${{a.b}}")
            )
        secret = next(filter(is_secret_name, _REFERENCE.findall(text)), None)
        if secret is not None and path != ("encryption_key",):
            raise SpecError(_fault(tree, path, f"{secret} is a secret and goes nowhere else"))
    _refuse_growth(tree, merged(defaults, tree.values))
    tree.values = _resolve(tree, defaults)


def _refuse_growth(tree: SpecTree, values: Any) -> None:
    """Refuse texts that double each other: twenty lines of them would make gigabytes.

    References that this cannot follow, such as relative ones, count as themselves.
    """
    sizes: dict[KeyPath, int] = {}

    def size_at(path: KeyPath) -> int:
        if path not in sizes:
            sizes[path] = 1  # while it is counted: a circle is told when it is resolved
            sizes[path] = size_of(_at(values, path))
            if sizes[path] > _MOST_VALUES:
                reason = f"references make more than {_MOST_VALUES} characters of it"
                raise SpecError(_fault(tree, path, reason))
        return sizes[path]

    def size_of(node: Any) -> int:
        if isinstance(node, dict):
            return sum(map(size_of, node.values())) + 1
        if isinstance(node, list):
            return sum(map(size_of, node)) + 1
        if not isinstance(node, str):
            return 1
        keys = (re.findall(r"[^.\[\]]+", name) for name in _REFERENCE.findall(node))
        return len(node) + sum(size_at(tuple(key)) for key in keys)

    for path, text in _texts(tree.values, ()):
        if "${" in text:
            size_at(path)


def _at(values: Any, path: KeyPath) -> Any:
    for key in path:
        if isinstance(values, list) and str(key).isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            values = values.get(str(key)) if isinstance(values, dict) else None
    return values


def _resolve(tree: SpecTree, defaults: Mapping[str, Any]) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        whole = OmegaConf.create(merged(defaults, tree.values))
        resolved = OmegaConf.to_container(whole, resolve=True)
    except RecursionError:
        raise SpecError("references in ${...} refer to each other too often") from None
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
        advice = f"{outside or '; write one of its keys as ${block.key}'}"
        return f"{shortened(name)} in ${{...}} is no key of the spec{advice}"
    if isinstance(error, GrammarParseError):
        return "a ${ must become ${block.key}"
    return shortened(text)


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
