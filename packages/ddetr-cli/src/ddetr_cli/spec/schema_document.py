"""The JSON Schema of a spec, made of the config models: what editors complete keys with.

It says of each key what the reader takes, and that is more than the models: one bare value for a
list, null and `???` for "not given", `${a.b}` for another key's value, and names of other versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ddetr_cli.spec.experiment import Experiment
from ddetr_cli.spec.schema import DERIVED_KEYS
from ddetr_cli.spec.tao_specs import RENAMED, WITHOUT_EFFECT
from ddetr_cli.spec.tree import KeyPath, dotted

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ABSENT: tuple[dict[str, Any], ...] = (
    {"type": "null"},
    {"type": "string", "pattern": r"^$|^\?\?\?$|\$\{.+\}", "description": "Not given, or ${a.b}."},
)


def json_schema(model: type[BaseModel] = Experiment) -> dict[str, Any]:
    """Give the schema of a whole spec, or of the flat one of `convert`, as plain values."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    root = _opened(schema, definitions)
    if model is Experiment:
        for path in DERIVED_KEYS:
            _remove(root, path)
        for old, new in RENAMED.items():
            _add_old(root, old, f"An older name of {dotted(new)}.")
        for old, reason in WITHOUT_EFFECT.items():
            _add_old(root, old, f"Without effect here: {reason}.")
    title = "A spec of ddetr" if model is Experiment else "A spec of ddetr convert"
    return {"$schema": _DIALECT, "title": title, **{k: v for k, v in root.items() if k != "title"}}


def _opened(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions where they are referred to, and let each key be what the reader takes."""
    if isinstance(node, list):
        return [_opened(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _opened({**target, **beside}, definitions)
    opened = {
        key: _opened(value, definitions)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }
    if isinstance(opened.get("properties"), dict):
        opened["properties"] = {name: _as_read(each) for name, each in opened["properties"].items()}
        opened.pop("required", None)  # a file may leave to the command line what it needs
    return opened


def _as_read(key: dict[str, Any]) -> dict[str, Any]:
    """Widen one key by a bare value in place of a list, and by what counts as not given."""
    told = {name: value for name, value in key.items() if name in ("description", "default")}
    own = {name: value for name, value in key.items() if name not in told}
    arms = own.pop("anyOf") if set(own) == {"anyOf"} else [own]
    bare = [arm["items"] for arm in arms if isinstance(arm.get("items"), dict)]
    return {**told, "anyOf": [*arms, *bare, *_ABSENT]}


def _block(root: dict[str, Any], path: KeyPath) -> dict[str, Any] | None:
    """Find the properties of the block at a path; none where the models have no such block."""
    properties = root["properties"]
    for name in path:
        arms = properties.get(name, {}).get("anyOf", [])
        inside = [arm for arm in arms if "properties" in arm]
        if not inside:
            return None
        properties = inside[0]["properties"]
    return properties  # type: ignore[no-any-return]


def _remove(root: dict[str, Any], path: KeyPath) -> None:
    block = _block(root, path[:-1])
    if block is not None:
        block.pop(str(path[-1]), None)


def _add_old(root: dict[str, Any], path: KeyPath, meaning: str) -> None:
    """Let a key of another version be there; in a block that is not ours anything is."""
    for length in range(len(path) - 1, -1, -1):
        block = _block(root, path[:length])
        if block is not None:
            block.setdefault(str(path[length]), {"description": meaning, "deprecated": True})
            return
