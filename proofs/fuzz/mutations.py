"""Damage and odd values, drawn from a generator so that a case can be made again."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

__all__ = ["ODD_WORDS", "mutate_bytes", "mutate_text", "mutate_tree"]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.0, -0.5, 1e308, -1e308, 10**18, 10**400, 2**63, 2**31),
    *(float("nan"), float("inf"), -float("inf"), "", " ", "1", "-3", "nan", "é\u202e", "a" * 3000),
    *([], {}, [[]], [None], [0] * 4, {"id": 1}, [1, 2, 3, 4, 5], "../../x", "\x1b[31m", "\x00"),
)
ODD_WORDS = (
    *("", "nan", "inf", "-inf", "-1", "0", "1e400", "-1e308", "1,5", "0x10", "1_0", "0123", "null"),
    *("~", "true", "''", '"', "9" * 5000, "[" * 300, "{a: ", "- ", "&a *a", "!!python/none x"),
    *("${a.b}", "é", "\x00", "\t", "\x1b[31m", "=1+1", "<a>", "</a>", "&lol;", "<!--", "]]>"),
)
ENCODINGS = ("utf-16", "utf-8-sig", "utf-32", "cp037")
LONGEST_RUN = 64


def mutate_bytes(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage a file as bytes.

    Returns:
        (kind of damage, the damaged content)
    """
    kind = rng.choice(sorted(BYTE_DAMAGES))
    return kind, BYTE_DAMAGES[kind](content, rng)


def mutate_text(text: str, rng: random.Random) -> tuple[str, bytes]:
    """Change words and lines of a text file, or its encoding.

    Returns:
        (kind of change, the changed content)
    """
    kind = rng.choice(("word", "line", "twice", "swap", "encoding", "bytes"))
    lines = text.splitlines() or [""]
    number = rng.randrange(len(lines))
    words = lines[number].split(" ")
    if kind == "word":
        words[rng.randrange(len(words))] = rng.choice(ODD_WORDS)
        lines[number] = " ".join(words)
    elif kind == "line":
        lines[number] = rng.choice(("", rng.choice(ODD_WORDS)))
    elif kind == "twice":
        lines.insert(number, lines[rng.randrange(len(lines))])
    elif kind == "swap":
        rng.shuffle(words)
        lines[number] = " ".join(words)
    elif kind == "encoding":
        return kind, text.encode(rng.choice(ENCODINGS), "replace")
    else:
        return mutate_bytes(text.encode(), rng)
    return kind, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def mutate_tree(tree: Any, rng: random.Random) -> tuple[str, Any]:
    """Replace, remove or repeat one node of what a JSON file holds.

    Returns:
        (kind of change, a changed copy)
    """
    changed = copy.deepcopy(tree)
    parents = [node for node in _nodes(changed) if isinstance(node, (dict, list)) and node]
    parent = rng.choice(parents)
    key = rng.choice(sorted(parent) if isinstance(parent, dict) else range(len(parent)))
    kind = rng.choice(("replace", "replace", "remove", "repeat"))
    if kind == "replace":
        parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    elif kind == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        parent[f"{key}{key}"] = copy.deepcopy(parent[key])
    return kind, changed


def _nodes(tree: Any) -> list[Any]:
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tree, *(node for child in children for node in _nodes(child))]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 3, 16))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _flip_head(content: bytes, rng: random.Random) -> bytes:
    """Headers tell sizes: damage there reaches further than in the pixels."""
    damaged = bytearray(content)
    damaged[rng.randrange(min(len(damaged), LONGEST_RUN))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(damaged)


def _number(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    number = rng.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
    return content[:start] + number + content[start + 4 :]


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    run = rng.randbytes(rng.randrange(1, LONGEST_RUN))
    return content[:start] + run + content[start + len(run) :]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randrange(1, LONGEST_RUN) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[max(0, start - rng.randrange(1, LONGEST_RUN)) :]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, LONGEST_RUN))


BYTE_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "head": _flip_head,
    "number": _number,
    "overwrite": _overwrite,
    "remove": _remove,
    "repeat": _repeat,
    "append": _append,
}
