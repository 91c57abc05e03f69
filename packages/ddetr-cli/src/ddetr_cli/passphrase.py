"""The passphrase of encrypted files: reading it, and hiding it from other users.

Best is the environment variable, or `-k -` and `-k @FILE`, which other users cannot read. A word of
the command line is seen by all of them: it is overwritten first of all, before anything that takes
time is imported, and what this process starts gets the passphrase by the environment.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddetr_cli.masking import is_secret_name

KEY_VARIABLE = "DDETR_ENCRYPTION_KEY"
NOTICE = (
    "the key stands on the command line, where every user of this machine can read it for a moment "
    f"(`ps` shows it): set the environment variable {KEY_VARIABLE} instead, or write -k - for a "
    "line of standard input, -k @FILE for the first line of a file"
)
_WORD = re.compile(r"""\s*\+*\s*(["']?)encryption_key\1\s*=""")
_OPTIONS = ("-k", "--key")
_STANDARD_INPUT, _FILE_SIGN = "-", "@"
_LONGEST_LINE_BYTES = 4096
# Positions in /proc/<pid>/stat behind the program's name: where its command line lies in memory.
_ARG_START, _ARG_END = 45, 46
LEFT_TO_THE_ENVIRONMENT = "encryption_key=null"


def key_of_environment() -> str | None:
    """Give the passphrase that the environment holds; an empty one is none."""
    return os.environ.get(KEY_VARIABLE) or None


def star_out_command_line() -> None:
    """Overwrite a passphrase where Linux keeps what `ps` shows; elsewhere it stays.

    Processes that load images are forks, which show this one's own command line.
    """
    if not any(start < len(word) for word, start in secret_starts(sys.argv)):
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    words = map(os.fsdecode, ctypes.string_at(start, end - start).split(b"\0"))
    for word, first in secret_starts(list(words)):
        shown, hidden = (len(os.fsencode(part)) for part in (word[:first], word[first:]))
        ctypes.memset(start + shown, ord("*"), hidden)
        start += shown + hidden + 1


def secret_starts(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each word, and where a secret begins in it: at its end if it holds none."""
    for before, word in zip(["", *words], words, strict=False):
        name, sign, _ = word.partition("=")
        if before in _OPTIONS:
            is_told_elsewhere = word == _STANDARD_INPUT or word.startswith(_FILE_SIGN)
            yield word, len(word) if is_told_elsewhere else 0
        elif sign and is_secret_name(name.lstrip("-+ ")):
            yield word, len(name) + 1
        elif word.startswith("-k") and word[2:3] not in ("", *_STANDARD_INPUT, _FILE_SIGN):
            yield word, 2
        else:
            yield word, len(word)


def read_passphrase(written: str) -> tuple[str, bool]:
    """Read what stands behind `-k`, and say whether it is the passphrase itself.

    Raises:
        ValueError: the file or the line cannot be read, or holds nothing.
    """
    if written != _STANDARD_INPUT and not written.startswith(_FILE_SIGN):
        return _usable(written, "-k"), True
    if written == _STANDARD_INPUT:
        return _usable(_first_line(sys.stdin.buffer.readline(_LONGEST_LINE_BYTES)), "-k -"), False
    path = Path(written[1:])
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_LINE_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"-k @FILE: {path} cannot be read: {reason}; give a file whose first line is the key"
        ) from None
    return _usable(_first_line(line), f"-k {written}"), False


def _first_line(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the passphrase behind -k must be text in UTF-8") from None


def _usable(passphrase: str, where: str) -> str:
    """Refuse what the environment and the cipher cannot take."""
    if not passphrase:
        raise ValueError(f"{where}: there is no passphrase, its first line is empty")
    try:
        passphrase.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: a passphrase must be text in UTF-8") from None
    if "\0" in passphrase:
        raise ValueError(f"{where}: a passphrase must hold no NUL")
    return passphrase


def keep_in_environment(passphrase: str) -> None:
    """Leave the passphrase to the environment, and take -k out of what Lightning would repeat."""
    os.environ[KEY_VARIABLE] = passphrase
    kept: list[str] = []
    words = iter(sys.argv[1:])
    for word in words:
        if word in _OPTIONS:
            next(words, None)
        elif not word.startswith(("-k", "--key=")):
            kept.append(word)
    if len(kept) < len(sys.argv) - 1:
        sys.argv[1:] = [*kept, LEFT_TO_THE_ENVIRONMENT]


def hand_on_by_environment(passphrase: str | None) -> bool:
    """Take it out of sys.argv, and say whether it stood there.

    Several GPUs have a process each, which Lightning starts with the words of sys.argv.
    """
    positions = [
        position
        for position, word in enumerate(sys.argv)
        if _WORD.match(word) and word != LEFT_TO_THE_ENVIRONMENT
    ]
    if passphrase is None or not positions:
        return False
    for position in positions:
        sys.argv[position] = LEFT_TO_THE_ENVIRONMENT
    os.environ[KEY_VARIABLE] = passphrase
    return True
