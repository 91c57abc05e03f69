"""pydantic's errors as sentences: the key, the rule, the value, and its file and line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from ddetr_cli.spec.schema import Model, is_list, nearest_key
from ddetr_cli.spec.tree import KeyPath, SpecTree, dotted

Details: TypeAlias = Mapping[str, Any]  # one finding: type, loc, msg, input, ctx

_SECRET_KEYS = {"encryption_key"}
_LONGEST_VALUE = 60
_RULES = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
    "path_type": "a path",
    "string_too_short": "text that is not empty",
    "too_short": "a list of at least {min_length}",
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a block of keys"),
}


def sentences(error: ValidationError, tree: SpecTree, model: Model) -> list[str]:
    """Say each fault once, in the order of the spec's blocks."""
    faults: dict[KeyPath, list[Details]] = {}
    findings: list[Any] = error.errors(include_url=False)
    for details in findings:
        faults.setdefault(_key_path(details, tree.values), []).append(details)
    # A union reports each of its members; the fault inside of a block says more than the block's.
    outer = {path for path in faults if any(_is_inside(other, path) for other in faults)}
    return [
        _sentence(path, details, tree, model)
        for path, details in faults.items()
        if path not in outer
    ]


def unknown_key(path: KeyPath, tree: SpecTree, model: Model) -> str:
    """Name an unknown key, its file and line, and the nearest known key."""
    nearest = nearest_key(model, path)
    hint = f"; did you mean {nearest}?" if nearest else "; --help-keys lists all that are known"
    if nearest == dotted(path):  # "train.seed: 3" in a file
        hint = "; write it as a key in a block, not with a dot"
    return f"unknown key {dotted(path)}{_located([path], tree)}{hint}"


def _sentence(path: KeyPath, details: Sequence[Details], tree: SpecTree, model: Model) -> str:
    kind = details[0]["type"]
    if kind == "extra_forbidden":
        return unknown_key(path, tree, model)
    if kind == "missing":
        return f"{dotted(path)} is missing{_located([path], tree)}; give it"
    if kind in ("value_error", "assertion_error"):
        return _own_sentence(path, str(details[0]["ctx"]["error"]), tree)
    rules = " or ".join(dict.fromkeys(_rule(found) for found in details))
    shown = "a secret" if path[-1:] and path[-1] in _SECRET_KEYS else _shown(details[0]["input"])
    hint = _list_hint(details[0]) if is_list(model, path) else ""
    return f"{dotted(path)} must be {rules}, got {shown}{hint}{_located([path], tree)}"


def _list_hint(details: Details) -> str:
    value = details["input"]
    looks_like_one = isinstance(value, str) and ("," in value or "[" in value)
    is_bare = details["type"] == "tuple_type" and isinstance(value, (str, int, float))
    return "; write a list as [1, 2], without quotes" if looks_like_one or is_bare else ""


def _own_sentence(path: KeyPath, text: str, tree: SpecTree) -> str:
    """Complete a config's own sentence by its key's full name and by the line of each key."""
    named = [(*path, word) for word in re.findall(r"[a-z_0-9]+", text) if word.isidentifier()]
    written = [key for key in dict.fromkeys(named) if key in tree.origins]
    last = str(path[-1]) if path else ""
    if text.startswith("must "):
        text = f"{dotted(path)} {text}"
    elif last and text.startswith(f"{last} "):
        text = dotted(path) + text[len(last) :]
    elif path:
        text = f"{dotted(path)}: {text}"
    return text + _located(written or [path], tree)


def _rule(details: Details) -> str:
    kind, value = details["type"], details["input"]
    if kind == "too_short" and isinstance(value, str):
        kind = "string_too_short"
    rule = _RULES.get(kind)
    if rule is None:
        message = details["msg"]
        return re.sub(r"^.* should be ", "", message[:1].lower() + message[1:])
    limits = {name: _exact(limit) for name, limit in details.get("ctx", {}).items()}
    return rule.format(**limits)


def _exact(limit: Any) -> Any:
    """Write 4294967296 as it is and 1.0 as 1."""
    return f"{limit:g}" if isinstance(limit, float) else limit


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _located(paths: Sequence[KeyPath], tree: SpecTree) -> str:
    """Give the source locations of keys in brackets; empty for what only the defaults give."""
    locations = [each for each in dict.fromkeys(map(tree.location_of, paths)) if each]
    return f" ({', '.join(locations)})" if locations else ""


def _key_path(details: Details, values: Any) -> KeyPath:
    """Drop what pydantic adds to a location: the names of a union's members."""
    path: KeyPath = ()
    node = values
    for part in details["loc"]:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part in range(len(node)):
            node = node[int(part)]
        elif details["type"] != "missing" or part != details["loc"][-1]:
            continue
        path = (*path, part)
    return path


def _is_inside(path: KeyPath, outer: KeyPath) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer
