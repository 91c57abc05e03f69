"""`ddetr <subtask> --help-keys`: every key of a subtask, or those that words pick."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ddetr_cli.commands.arguments import KeysArguments
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import SUBTASK_KEYS, KeyRow, SpecError, nearest_key
from ddetr_cli.terminal import RunConsole

_WIDTH_OF_A_TABLE = 120  # below it names of keys would be broken
_INDENT = "    "


def main(arguments: KeysArguments, console: RunConsole) -> int:
    """Show a table of the keys.

    Raises:
        SpecError: the subtask reads no spec, or no key has all of the words.
    """
    subtask, words = arguments.subtask, arguments.words or []
    keys = SUBTASK_KEYS.get(subtask)
    if keys is None:
        raise SpecError(f"{subtask} reads no keys of a spec; give one of {', '.join(SUBTASK_KEYS)}")
    rows = list(keys.all_rows())
    for word in words:
        rows = _in_block(rows, word) or [row for row in rows if _has(row, word)]
    if not rows:
        raise SpecError(_no_key(subtask, words))
    what = f"keys of {subtask}" + (f" with {' '.join(words)}" if words else "")
    if console.out.width < _WIDTH_OF_A_TABLE:
        _list(what, rows, console)
        return EXIT_SUCCESS
    cells = [(row.name, row.default, row.takes, row.meaning) for row in rows]
    console.table(what, ["key", "default", "takes", "meaning"], cells, unbroken=["key"])
    return EXIT_SUCCESS


def _list(title: str, rows: Sequence[KeyRow], console: RunConsole) -> None:
    """Write the keys one below the other, for a terminal that has no room for four columns."""
    console.say(title)
    for row in rows:
        console.say("")
        console.say(f"{row.name}: {row.default} ({row.takes})")
        for line in textwrap.wrap(row.meaning, max(console.out.width - len(_INDENT), 20)):
            console.say(_INDENT + line)


def _in_block(rows: Sequence[KeyRow], word: str) -> list[KeyRow]:
    return [row for row in rows if row.name.startswith(f"{word.rstrip('.')}.")]


def _has(row: KeyRow, word: str) -> bool:
    """Whether the word is a part of the name or of the meaning, in any case."""
    return word.lower() in f"{row.name} {row.meaning}".lower()


def _no_key(subtask: str, words: Sequence[str]) -> str:
    model = SUBTASK_KEYS[subtask].model
    nearest = nearest_key(model, tuple(words[0].split("."))) if len(words) == 1 else None
    hint = f"did you mean {nearest}?" if nearest else "give one word, or none for all of them"
    return f"no key of {subtask} has {' and '.join(map(repr, words))}; {hint}"
