"""The passphrase of encrypted files: reading it, and hiding it from other users.

Best is the environment variable, which other users cannot read. A word of the command line is seen
by all of them: it is overwritten first of all, before anything that takes time is imported, and
what this process starts gets the passphrase by the environment.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

KEY_VARIABLE = "DDETR_ENCRYPTION_KEY"
NOTICE = (
    "encryption_key stands on the command line, where every user of this machine can read it for a "
    f"moment: set the environment variable {KEY_VARIABLE} instead"
)
_WORD = re.compile(r"""\s*\+*\s*(["']?)encryption_key\1\s*=""")
# Positions in /proc/<pid>/stat behind the program's name: where its command line lies in memory.
_ARG_START, _ARG_END = 45, 46
_LEFT_TO_THE_ENVIRONMENT = "encryption_key=null"


def key_of_environment() -> str | None:
    """Give the passphrase that the environment holds; an empty one is none."""
    return os.environ.get(KEY_VARIABLE) or None


def star_out_command_line() -> None:
    """Overwrite a passphrase where Linux keeps what `ps` shows; elsewhere it stays.

    Processes that load images are forks, which show this one's own command line.
    """
    if not any(map(_WORD.match, sys.argv)):
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    for word in ctypes.string_at(start, end - start).split(b"\0"):
        name, sign, value = word.partition(b"=")
        if sign and _WORD.match(os.fsdecode(word)):
            ctypes.memset(start + len(name) + 1, ord("*"), len(value))
        start += len(word) + 1


def hand_on_by_environment(passphrase: str | None) -> bool:
    """Take it out of sys.argv, and say whether it stood there.

    Several GPUs have a process each, which Lightning starts with the words of sys.argv.
    """
    positions = [position for position, word in enumerate(sys.argv) if _WORD.match(word)]
    if passphrase is None or not positions:
        return False
    for position in positions:
        sys.argv[position] = _LEFT_TO_THE_ENVIRONMENT
    os.environ[KEY_VARIABLE] = passphrase
    return True
