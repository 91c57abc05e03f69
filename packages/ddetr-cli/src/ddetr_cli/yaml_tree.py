"""YAML as specs use it: plain data only, each value with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ddetr_cli.spec_tree import KeyPath, Origin, SpecError, SpecTree

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    re.IGNORECASE,
)
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}
_REPLACED_TAGS = {f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp"}


class SpecLoader(yaml.SafeLoader):
    """Plain data; 2e-4 is a number, while 0123, 12:30 and 2024-10-15 stay text."""


def _replace_number_rules() -> None:
    kept = {
        first: [(tag, rule) for tag, rule in rules if tag not in _REPLACED_TAGS]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    SpecLoader.yaml_implicit_resolvers = kept
    for name, rule in (("int", _INT), ("float", _FLOAT)):
        whole = re.compile(f"(?:{rule.pattern})$", rule.flags)
        SpecLoader.add_implicit_resolver(f"{_TAG}{name}", whole, list("-+0123456789."))


_replace_number_rules()


def read_spec_file(path: Path) -> SpecTree:
    """Read a YAML file of keys and blocks.

    Raises:
        FileNotFoundError: there is no such file.
        SpecError: the text is no YAML, a key stands twice, or the top is no block of keys.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"spec file {path} {kind} (current folder: {Path.cwd()})")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: a spec must be UTF-8 text, got byte {error.start}") from None
    return parse_spec(text, path.name)


def parse_spec(text: str, name: str) -> SpecTree:
    """Parse the text of a spec; name is what errors and origins call it."""
    tree = SpecTree()

    def place(node: yaml.Node) -> str:
        return f"{name}:{node.start_mark.line + 1}"

    tree.values = _parse(text, name, (), tree.origins, place) or {}
    if not isinstance(tree.values, dict):
        raise SpecError(f"{name}:1: a spec must be a block of keys (key: value)")
    return tree


def parse_value(text: str, path: KeyPath, place: str) -> SpecTree:
    """Parse the right side of an override into a tree whose values hold it under "value".

    Brackets, braces and quotes are YAML's; everything else is one plain scalar, whatever signs it
    holds; nothing at all is null.
    """
    tree = SpecTree()
    if text[:1] in ("[", "{", '"', "'"):
        value = _parse(text, place, path, tree.origins, lambda _: place)
    else:
        value = _plain_scalar(text)
    tree.origins[path] = Origin(place, text)
    tree.values = {"value": value}
    return tree


def _plain_scalar(text: str) -> Any:
    loader: Any = SpecLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag not in _PLAIN_TAGS:
        return text
    return loader.construct_object(yaml.ScalarNode(tag, text))


def _parse(
    text: str,
    name: str,
    path: KeyPath,
    origins: dict[KeyPath, Origin],
    place: Callable[[yaml.Node], str],
) -> Any:
    loader = SpecLoader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, origins, place).build(node, path)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and not path else ""
        raise SpecError(f"{name}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{name}: not valid YAML: {error}") from None
    except RecursionError:
        raise SpecError(f"{name}: not valid YAML: a block refers to itself") from None
    finally:
        loader.dispose()


class _Builder:
    """Turns YAML nodes into plain data and notes each one's origin on the way."""

    def __init__(
        self,
        loader: SpecLoader,
        origins: dict[KeyPath, Origin],
        place: Callable[[yaml.Node], str],
    ) -> None:
        self.loader = loader
        self.origins = origins
        self.place = place

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        self.origins.setdefault(path, Origin(self.place(node), text))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._block(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        return self.loader.construct_object(node, deep=True)

    def _block(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._refuse_doubles(node)
        self.loader.flatten_mapping(node)
        block: dict[str, Any] = {}
        for key, value in node.value:
            at = (*path, str(key.value))
            text = value.value if isinstance(value, yaml.ScalarNode) else None
            self.origins[at] = Origin(self.place(key), text)
            block[str(key.value)] = self.build(value, at)
        return block

    def _refuse_doubles(self, node: yaml.MappingNode) -> None:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            first = seen.setdefault(str(key.value), key)
            if first is not key and key.tag != f"{_TAG}merge":
                raise SpecError(
                    f"{self.place(key)}: {key.value} stands twice, first at {self.place(first)}"
                )
