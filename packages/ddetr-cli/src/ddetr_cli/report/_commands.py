"""The commands that made what a report shows, to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from ddetr_cli.masking import MASK
from ddetr_cli.report._sections import Code, Section
from ddetr_cli.report.history import Start, read_starts
from ddetr_cli.running import SPEC_FILE
from ddetr_cli.typed_command import typed_command

_STATUS = "status.json"
_SHOWN = 5  # starts of one run
_SECRETS = f"{MASK} is a secret: leave the word out; DDETR_ENCRYPTION_KEY takes a passphrase."


def command_sections(codes: Iterable[Code]) -> list[Section]:
    """Give a section of them, or none where nothing was recorded."""
    shown = list(dict.fromkeys(codes))
    if not shown:
        return []
    note = _SECRETS if any(MASK in code.text for code in shown) else ""
    return [Section("Commands", note=note, codes=shown)]


def own_command(task: str) -> list[Code]:
    """Give the line of the command that runs now, if there is one."""
    line = typed_command()
    return [] if line is None else [Code(task, line)]


def commands_of_run(folder: Path, *, last_only: bool) -> list[Code]:
    """Give the starts of the run that keeps its record in the folder; none without a record.

    Args:
        folder: Its results folder.
        last_only: Whether each start began anew, so that the last one made what is there; a
            training goes on from its earlier starts.
    """
    if not (folder / _STATUS).is_file():
        return []
    starts = read_starts(folder / _STATUS)
    starts = starts[-1:] if last_only else starts
    codes = [_code(start, folder) for start in starts[-_SHOWN:]]
    if codes and len(starts) > _SHOWN:
        earlier = f" ({len(starts) - _SHOWN} starts before it are in {_STATUS})"
        codes[0] = Code(codes[0].title + earlier, codes[0].text)
    return codes


def commands_of_model(model: str | None) -> list[Code]:
    """Give those of the training that has left the file, as far as its folder says."""
    return [] if model is None else commands_of_run(Path(model).parent, last_only=False)


def _code(start: Start, folder: Path) -> Code:
    title = f"{start.task}, {start.when}"
    if start.command is not None:
        return Code(title, start.command)
    spec = shlex.quote(str((folder / SPEC_FILE).absolute()))
    return Code(f"{title}, called from Python; as a command", f"ddetr {start.task} -e {spec}")
