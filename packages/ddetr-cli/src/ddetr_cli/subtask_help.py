"""The help of a subtask: its options, the ten keys that matter, and where all of them are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from ddetr_cli.terminal import OUTPUT_OPTIONS

if TYPE_CHECKING:
    from ddetr_cli.spec import KeyRow

HELP_KEYS = "--help-keys"
KEYS_COMMAND = "keys"
_WIDEST_KEY = 36


@dataclass(frozen=True)
class _Completion:
    """One word that a shell may complete, as typer reads it."""

    value: str
    help: str
    type: str = "plain"


class SubtaskCommand(TyperCommand):
    """A command whose help names the keys of its spec; they are read when it is asked for."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the keys that matter."""
        super().format_options(ctx, formatter)
        with formatter.section("On every command"):
            formatter.write_dl(list(OUTPUT_OPTIONS.items()))
        from ddetr_cli.spec import SUBTASK_KEYS

        name = self.name or ""
        if name not in SUBTASK_KEYS:
            return
        rows = SUBTASK_KEYS[name].main_rows()
        with formatter.section("Keys that matter, and their defaults"):
            formatter.write_dl([(row.name, _meaning(row)) for row in rows], col_max=_WIDEST_KEY)
        formatter.write_paragraph()
        formatter.write_text(
            f"All keys: ddetr {name} {HELP_KEYS}, or those of a block or with a word: "
            f"ddetr {name} {HELP_KEYS} {_example(name)}. A commented spec: ddetr spec {name}. "
            "The same as a page: docs/spec.md of the repository."
        )

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete options that every command takes, beside its own."""
        found: list[Any] = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return found
        more = {**OUTPUT_OPTIONS, HELP_KEYS: "Every key, or those of a block or with a word."}
        return found + [
            _Completion(name, told) for name, told in more.items() if name.startswith(incomplete)
        ]


def with_keys_asked_for(words: Sequence[str]) -> list[str]:
    """Turn `train --help-keys optim` into the command that lists keys: `keys train optim`."""
    if HELP_KEYS not in words[1:]:
        return list(words)
    others = [word for word in words[1:] if word != HELP_KEYS]
    return [KEYS_COMMAND, words[0], *others]


def _meaning(row: KeyRow) -> str:
    is_block = "block" in row.takes and ":" in row.takes
    return f"{row.first_sentence} [{row.takes if is_block else row.default}]"


def _example(subtask: str) -> str:
    return {"convert": "split", "check": "dataset", "summary": "model"}.get(subtask, "batch")
