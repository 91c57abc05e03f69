"""Overrides: `key.sub=value` on the command line, laid over the spec file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ddetr_cli.masking import without_pairs
from ddetr_cli.spec.tree import DEEPEST, OVERRIDE, KeyPath, SpecError, SpecTree, shortened
from ddetr_cli.spec.yaml_tree import parse_value
from ddetr_data import shown_text

# One step of a key: quoted (it may hold dots), bare, or an index in brackets.
_STEP = re.compile(r"""\.?(?:"([^"]+)"|'([^']+)'|\[([0-9]{1,9})\]|([^.\[\]"']+))""")

_LONGEST_LOOKED_AT = 2000  # characters, of those that a sentence repeats


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
        location = OVERRIDE + shown_text(_shown(override))
        tree.assign(path, *parse_value(text, path, location))


def split_override(override: str) -> tuple[KeyPath, str]:
    """Split at the first `=` outside quotes; a leading `+` or `++` has no meaning of its own."""
    key, equals, text = _at_first_equals(override)
    shown = repr(_shown(override))
    if override.lstrip().startswith("~"):
        name = shortened(key.strip().lstrip("~"))
        raise SpecError(f"{shown} would take a key away; give it a value: {name}=VALUE, or null")
    key = key.strip().lstrip("+").strip()
    if not equals or not key:
        raise SpecError(f"{shown} is no override; write key.sub=value")
    return _key_path(key, shown), text.strip()


def _shown(override: str) -> str:
    return shortened(without_pairs(override[:_LONGEST_LOOKED_AT]))


def _at_first_equals(override: str) -> tuple[str, str, str]:
    quoted = re.match(r"""(?:[^="']|"[^"]*"|'[^']*')*""", override)
    end = quoted.end() if quoted else 0
    return override[:end], override[end : end + 1], override[end + 1 :]


def _key_path(key: str, shown: str) -> KeyPath:
    steps: list[str | int] = []
    end = 0
    while end < len(key):
        match = _STEP.match(key, end)
        if len(steps) == DEEPEST:
            raise SpecError(f"{shown}: a key has at most {DEEPEST} levels")
        if match is None or (end == 0 and key[0] == ".") or (end and key[end] not in ".["):
            raise SpecError(f"{shown} has no key; write block.key=value or block.list[0]=value")
        double, single, index, bare = match.groups()
        steps.append(double or single or bare if index is None else int(index))
        end = match.end()
    return tuple(steps)
