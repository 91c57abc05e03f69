"""YAML as specs use it: plain data only, each value with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ddetr_cli.masking import without_pairs
from ddetr_cli.spec._spec_text import read_spec_text
from ddetr_cli.spec.tree import DEEPEST, KeyPath, Origin, SpecError, SpecTree, shortened
from ddetr_data import shown_text

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?=[eE]))|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    re.IGNORECASE,
)
_MOST_VALUES = 200_000  # a spec has hundreds; aliases of aliases can make billions of a short text
_LONGEST_KEY = 1000  # characters of a key that a sentence looks at
_LONGEST_NUMBER = 100  # characters; Python reads no whole number of thousands of digits
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}
_TEXT_TAG = f"{_TAG}str"
_MERGE_TAG = f"{_TAG}merge"
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

    A pipe will do (`-e <(make-spec)`); into one with a name of its own somebody must write soon.
    Text that begins with UTF-16's mark is read as UTF-16.

    Raises:
        FileNotFoundError: there is no such file.
        SpecError: it is a device or a silent pipe, the text is no YAML, a key stands twice, or the
            top is no block of keys.
    """
    return parse_spec(read_spec_text(path), path.name)


def parse_spec(text: str, name: str) -> SpecTree:
    """Parse the text of a spec; name is what errors and origins call it."""
    tree = SpecTree()

    def location(node: yaml.Node) -> str:
        return f"{name}:{node.start_mark.line + 1}"

    tree.values = _parse(text, name, (), tree.origins, location) or {}
    if not isinstance(tree.values, dict):
        raise SpecError(f"{name}:1: a spec must be a block of keys (key: value)")
    return tree


def parse_value(text: str, path: KeyPath, location: str) -> tuple[Any, dict[KeyPath, Origin]]:
    """Parse the right side of an override: its value, and the origins of all in it.

    Brackets, braces and quotes are YAML's; everything else is one plain scalar, whatever signs it
    holds; nothing at all is null.
    """
    origins: dict[KeyPath, Origin] = {}
    if text[:1] in ("[", "{", '"', "'"):
        value = _parse(text, location, path, origins, lambda _: location)
    else:
        value = _plain_scalar(text, location)
    return value, {**origins, path: Origin(location, text)}


def _plain_scalar(text: str, location: str) -> Any:
    loader: Any = SpecLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag not in _PLAIN_TAGS:
        return text
    return _constructed(loader, yaml.ScalarNode(tag, text), location)


def _parse(
    text: str,
    name: str,
    path: KeyPath,
    origins: dict[KeyPath, Origin],
    location: Callable[[yaml.Node], str],
) -> Any:
    try:
        loader = SpecLoader(text)
    except yaml.reader.ReaderError as error:
        where = "" if path else f":{text.count(chr(10), 0, error.position) + 1}"
        raise SpecError(
            f"{name}{where}: not valid YAML: the character #x{error.character:04x} is not allowed"
        ) from None
    try:
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, origins, location).build(node, path)
    except SpecError:
        raise
    except (ValueError, OverflowError):  # an escape such as "\\UFFFFFFFF"
        raise SpecError(f"{name}: not valid YAML: a character or a number in it is none") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and not path else ""
        raise SpecError(f"{name}{line}: not valid YAML: {_problem(error)}; mend it there") from None
    except RecursionError:
        raise SpecError(
            f"{name}: not valid YAML: a block refers to itself, or nests too deep"
        ) from None
    finally:
        loader.dispose()


def _constructed(loader: Any, node: yaml.ScalarNode, location: str) -> Any:
    """Give the value of a scalar of plain data.

    Raises:
        SpecError: a number of too many digits, or a tag that the text does not fit.
    """
    kind = node.tag.removeprefix(_TAG)
    if node.tag not in (*_PLAIN_TAGS, _TEXT_TAG):
        raise _wrong_tag(node, location)
    if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
        raise SpecError(
            f"{location}: a number must have at most {_LONGEST_NUMBER} digits, this one has "
            f"{len(node.value)}"
        )
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, yaml.YAMLError):
        shown = shortened(repr(node.value))
        raise SpecError(f"{location}: not valid YAML: {shown} is no {kind}") from None


def _wrong_tag(node: yaml.Node, location: str) -> SpecError:
    tag = repr(shortened(node.tag))
    return SpecError(f"{location}: not valid YAML: {tag} is no tag of plain data")


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = shown_text(shortened(str(error.problem)))
    if isinstance(error, yaml.constructor.ConstructorError) and "tag" in problem:
        return f"{shortened(problem.rpartition(' ')[2])} is no tag of plain data"
    return f"{error.context}, {problem}" if problem.startswith("but ") else problem


@dataclass
class _Builder:
    """Turns YAML nodes into plain data, and keeps the origin of each."""

    loader: SpecLoader
    origins: dict[KeyPath, Origin]
    location: Callable[[yaml.Node], str]
    count: int = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(1, node)
        if len(path) > DEEPEST:
            raise SpecError(
                f"{self.location(node)}: not valid YAML: a block refers to itself, or nests deeper "
                f"than {DEEPEST} levels"
            )
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        self.origins.setdefault(path, Origin(self.location(node), text))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._block(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            raise _wrong_tag(node, self.location(node))
        return _constructed(self.loader, node, self.location(node))

    def _count(self, values: int, node: yaml.Node) -> None:
        self.count += values
        if self.count > _MOST_VALUES:
            raise SpecError(
                f"{self.location(node)}: a spec must hold at most {_MOST_VALUES} values"
            )

    def _block(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for key, value in self._pairs(node):
            self._refuse_odd_key(key, value)
            at = (*path, str(key.value))
            text = value.value if isinstance(value, yaml.ScalarNode) else None
            self.origins[at] = Origin(self.location(key), text)
            block[str(key.value)] = self.build(value, at)
        return block

    def _pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """Keys and values, first those of merged blocks; each later pair wins over earlier ones."""
        self._refuse_doubles(node)
        self._count(len(node.value), node)
        pairs = []
        for key, value in node.value:
            if key.tag != _MERGE_TAG:
                continue
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in reversed(sources):
                if not isinstance(source, yaml.MappingNode):
                    raise SpecError(f"{self.location(key)}: << takes a block of keys, or a list")
                pairs += self._pairs(source)
        return [*pairs, *(pair for pair in node.value if pair[0].tag != _MERGE_TAG)]

    def _refuse_odd_key(self, key: yaml.Node, value: yaml.Node) -> None:
        """Refuse lists and blocks as keys, and `{car:red}`, which YAML takes for one key."""
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise SpecError(f"{self.location(key)}: a key must be a word")
        is_empty = isinstance(value, yaml.ScalarNode) and not value.value and value.style is None
        if key.style is None and ":" in key.value and is_empty:
            shown = shortened(without_pairs(key.value[:_LONGEST_KEY]))
            raise SpecError(f"{self.location(key)}: write a space after the colon of {shown}")

    def _refuse_doubles(self, node: yaml.MappingNode) -> None:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            first = seen.setdefault(str(key.value), key)
            if first is not key and key.tag != f"{_TAG}merge":
                line, first_line = self.location(key), self.location(first)
                shown = shortened(without_pairs(str(key.value)[:_LONGEST_KEY]))
                raise SpecError(f"{line}: {shown} stands twice, first at {first_line}; keep one")
