"""A spec before it is checked: plain values, and for each its location in the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

OVERRIDE = "override "  # how the location of an override begins
KeyPath: TypeAlias = tuple[str | int, ...]  # ("dataset", "train_data_sources", 0, "image_dir")


DEEPEST = 50  # levels of a key; a spec has six
LONGEST_SHOWN = 200  # characters of what was typed that a sentence repeats


class SpecError(ValueError):
    """A spec or an override that cannot be used; the text holds one sentence for each fault."""


@dataclass(frozen=True)
class Origin:
    """Where a value was written, and for a scalar its text as it was typed."""

    location: str  # "spec.yaml:12", or the override as it was typed
    text: str | None = None

    @property
    def in_file(self) -> bool:
        """Whether it stands in the file, not in an override."""
        return not self.location.startswith(OVERRIDE)


@dataclass
class SpecTree:
    """Nested dicts, lists and scalars, with the origin of each key path."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def location_of(self, path: KeyPath) -> str:
        """Give file and line of the path, else of the nearest block around it or of a key inside.

        Empty for a value that only the defaults give.
        """
        around = (path[:length] for length in range(len(path), 0, -1))
        inside = (known for known in self.origins if known[: len(path)] == path)
        found = next((near for near in (*around, *inside) if near and near in self.origins), None)
        return self.origins[found].location if found else ""

    def locate(
        self, path: KeyPath, is_list: Callable[[KeyPath], bool] = lambda _: False
    ) -> KeyPath:
        """Turn the digits in a path into indices wherever the tree holds a list.

        Where it holds nothing yet, is_list decides.
        """
        node: Any = self.values
        located: KeyPath = ()
        for key in path:
            holds_list = isinstance(node, list) or (node is None and is_list(located))
            if holds_list and isinstance(key, str) and key.isascii() and key.isdigit():
                key = int(key)
            located = (*located, key)
            inside = isinstance(node, dict) and key in node
            inside = inside or (isinstance(node, list) and key in range(len(node)))
            node = node[key] if inside else None
        return located

    def assign(self, path: KeyPath, value: Any, origins: Mapping[KeyPath, Origin]) -> None:
        """Set a value: dicts merge key by key, missing blocks appear, all else is replaced.

        Raises:
            SpecError: a part of the path is no block, or an index is past the list's end.
        """
        node: Any = self.values
        for depth, (key, following) in enumerate(pairwise(path), start=1):
            _open_slot(node, path[:depth])
            if node[key] is None:
                node[key] = [] if isinstance(following, int) else {}
            node = node[key]
        _open_slot(node, path)
        if not (isinstance(node[path[-1]], dict) and isinstance(value, dict)):
            for stale in [known for known in self.origins if known[: len(path)] == path]:
                del self.origins[stale]
        node[path[-1]] = merged(node[path[-1]], value)
        self.origins.update(origins)
        for length in range(1, len(path)):
            self.origins.setdefault(path[:length], Origin(origins[path].location))

    def get(self, path: KeyPath) -> Any:
        """Give the value at a path of blocks; None where there is none."""
        node: Any = self.values
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    def remove(self, path: KeyPath) -> Any:
        """Remove a value and return it; None where there is none. Its origin stays for messages."""
        node = self.get(path[:-1])
        return node.pop(path[-1], None) if isinstance(node, dict) else None


def dotted(path: KeyPath) -> str:
    """Write a key path as overrides do: dataset.train_data_sources.0.image_dir."""
    return ".".join(shortened(str(key)) for key in path)


def shortened(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Cut what a sentence repeats."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def path_of(dotted_key: str) -> KeyPath:
    """Split a key that is written with dots, none of them in quotes."""
    return tuple(dotted_key.split("."))


def with_texts(node: Any, change: Callable[[str], str]) -> Any:
    """Give the same values with every text in them changed."""
    if isinstance(node, dict):
        return {key: with_texts(child, change) for key, child in node.items()}
    if isinstance(node, list):
        return [with_texts(child, change) for child in node]
    return change(node) if isinstance(node, str) else node


def _open_slot(parent: Any, path: KeyPath) -> None:
    """Make sure that parent can hold the last key of the path; a new slot holds None."""
    *around, key = path
    name = dotted(tuple(around))
    if isinstance(parent, list):
        if not isinstance(key, int):
            raise SpecError(f"{dotted(path)}: {name} is a list; give an index, not a key")
        if key > len(parent):
            raise SpecError(f"{dotted(path)}: {name} has only {len(parent)} entries")
        if key == len(parent):
            parent.append(None)
    elif isinstance(parent, dict) and isinstance(key, str):
        parent.setdefault(key, None)
    else:
        kind = "list" if isinstance(key, int) else "block of keys"
        raise SpecError(f"{dotted(path)}: {name} is no {kind}")


def merged(old: Any, new: Any) -> Any:
    """Lay new over old: dicts key by key, all else is replaced."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
