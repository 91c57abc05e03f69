"""Overrides: `key.sub=value` on the command line, laid over the spec file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ddetr_cli.spec.tree import OVERRIDE, KeyPath, SpecError, SpecTree
from ddetr_cli.spec.yaml_tree import parse_value

# One step of a key: quoted (it may hold dots), bare, or an index in brackets.
_STEP = re.compile(r"""\.?(?:"([^"]+)"|'([^']+)'|\[(\d+)\]|([^.\[\]"']+))""")
_SECRET = re.compile(r"(encryption_key[^=]*=).+", re.DOTALL)


def apply_overrides(
    tree: SpecTree,
    overrides: Sequence[str],
    is_list: Callable[[KeyPath], bool] = lambda _: False,
) -> None:
    """Lay overrides over the tree, later ones over earlier ones.

    Args:
        tree: the spec, which is changed.
        overrides: `key.sub=value` each.
        is_list: whether a key holds a list, so that digits behind it are an index.

    Raises:
        SpecError: an override is no `key=value`, or its key runs into a scalar.
    """
    for override in overrides:
        written, text = split_override(override)
        path = tree.locate(written, is_list)
        location = OVERRIDE + _without_secret(override)
        tree.assign(path, *parse_value(text, path, location))


def split_override(override: str) -> tuple[KeyPath, str]:
    """Split at the first `=` outside quotes; a leading `+` or `++` has no meaning of its own."""
    key, equals, text = _at_first_equals(override)
    shown = repr(_without_secret(override))
    if override.lstrip().startswith("~"):
        name = key.strip().lstrip("~")
        raise SpecError(f"{shown} would take a key away; give it a value: {name}=VALUE, or null")
    if not equals or not key.strip("+ "):
        raise SpecError(f"{shown} is no override; write key.sub=value")
    return _key_path(key.strip().lstrip("+"), shown), text.strip()


def _without_secret(override: str) -> str:
    return _SECRET.sub(r"\1***", override)


def _at_first_equals(override: str) -> tuple[str, str, str]:
    quoted = re.match(r"""(?:[^="']|"[^"]*"|'[^']*')*""", override)
    end = quoted.end() if quoted else 0
    return override[:end], override[end : end + 1], override[end + 1 :]


def _key_path(key: str, shown: str) -> KeyPath:
    steps: list[str | int] = []
    end = 0
    while end < len(key):
        match = _STEP.match(key, end)
        if match is None or (end == 0 and key[0] == ".") or (end and key[end] not in ".["):
            raise SpecError(f"{shown}: {key!r} is no key; write block.key or block.list[0]")
        double, single, index, bare = match.groups()
        steps.append(double or single or bare if index is None else int(index))
        end = match.end()
    return tuple(steps)
