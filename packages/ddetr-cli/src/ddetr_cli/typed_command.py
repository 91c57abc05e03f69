"""The command line of a run, as a line that a shell takes again; secrets are starred out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from ddetr_cli.masking import MASK, masked, without_pairs
from ddetr_cli.passphrase import secret_starts

_TYPED: ContextVar[str | None] = ContextVar("ddetr_typed_command", default=None)


def typed_command(secrets: Iterable[str | None] = ()) -> str | None:
    """Give `cd FOLDER && ddetr ...` of the command that runs; None in a call from Python.

    Args:
        secrets: Passphrases that it must not hold, wherever they stand.
    """
    line = _TYPED.get()
    return None if line is None else masked(line, secrets)


@contextmanager
def command_typed(words: Sequence[str]) -> Iterator[None]:
    """While entered, what runs was asked for by these words behind `ddetr`."""
    token = _TYPED.set(shell_line(words))
    try:
        yield
    finally:
        _TYPED.reset(token)


def shell_line(words: Sequence[str]) -> str:
    """Quote the words for a shell, with the folder that relative paths begin in."""
    starred = [
        word[:start] + MASK if start < len(word) else without_pairs(word)
        for word, start in secret_starts(words)
    ]
    line = shlex.join(["ddetr", *starred])
    with suppress(OSError):  # the folder may be gone
        line = f"cd {shlex.quote(os.getcwd())} && {line}"
    return line
