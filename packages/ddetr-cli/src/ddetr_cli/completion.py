"""What a shell completes behind a subtask: keys of its spec, and their choices."""

from __future__ import annotations

from collections.abc import Iterator

import typer

_NO_CHOICES = ("integer", "number", "text", "path", "null", "block")


def complete_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Give the words that a `key=value` which begins so may become.

    Args:
        ctx: of the command line so far, which names the subtask.
        incomplete: the word; behind a `=` the choices of a key are given.
    """
    from ddetr_cli.spec import SUBTASK_KEYS

    keys = SUBTASK_KEYS.get(ctx.info_name or "")
    if keys is None:
        return []
    key, equals, _ = incomplete.partition("=")
    rows = list(keys.all_rows())
    if not equals:
        return [f"{row.name}=" for row in rows if row.name.startswith(key)]
    takes = next((row.takes for row in rows if row.name == key), "")
    words = (f"{key}={choice}" for choice in _choices(takes))
    return [word for word in words if word.startswith(incomplete)]


def _choices(takes: str) -> Iterator[str]:
    """Pick the words that a value may be out of what its key takes; numbers and texts are none."""
    for word in takes.split(", "):
        if word not in _NO_CHOICES and word.isidentifier():
            yield word
