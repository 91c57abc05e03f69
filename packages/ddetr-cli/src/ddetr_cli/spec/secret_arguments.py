"""A passphrase on the command line, kept out of the command lines of the processes we start."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from ddetr_cli.spec.experiment import KEY_VARIABLE
from ddetr_cli.spec.overrides import split_override
from ddetr_cli.spec.tree import SpecError

_KEY = ("encryption_key",)
# Places in /proc/<pid>/stat behind the program's name: where its command line lies in memory.
_ARG_START, _ARG_END = 45, 46
_LEFT_TO_THE_ENVIRONMENT = "encryption_key=null"

NOTICE = (
    f"encryption_key stands on the command line, where every user of this machine can read it: "
    f"set the environment variable {KEY_VARIABLE} instead"
)


def hide_passphrase(passphrase: str | None) -> bool:
    """Take it out of sys.argv, hand it on by the environment, and say whether it stood there.

    Several GPUs have a process each, which Lightning starts with the words of sys.argv. Processes
    that load images are forks, which show this one's own command line: there it becomes stars.
    """
    places = [place for place, word in enumerate(sys.argv) if _is_passphrase(word)]
    if passphrase is None or not places:
        return False
    for place in places:
        sys.argv[place] = _LEFT_TO_THE_ENVIRONMENT
    os.environ[KEY_VARIABLE] = passphrase
    _star_out_own_command_line()
    return True


def _star_out_own_command_line() -> None:
    """Overwrite the passphrase where Linux keeps what `ps` shows; elsewhere it stays."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    for word in ctypes.string_at(start, end - start).split(b"\0"):
        name, sign, value = word.partition(b"=")
        if sign and _is_passphrase(os.fsdecode(word)):
            ctypes.memset(start + len(name) + 1, ord("*"), len(value))
        start += len(word) + 1


def _is_passphrase(word: str) -> bool:
    try:
        return split_override(word)[0] == _KEY
    except SpecError:
        return False
