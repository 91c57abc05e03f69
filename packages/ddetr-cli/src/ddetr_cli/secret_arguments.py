"""A passphrase on the command line, kept out of the command lines of the processes we start."""

from __future__ import annotations

import os
import sys

from ddetr_cli.overrides import split_override
from ddetr_cli.spec import KEY_VARIABLE
from ddetr_cli.spec_tree import SpecError

_KEY = ("encryption_key",)
_LEFT_TO_THE_ENVIRONMENT = "encryption_key=null"

NOTICE = (
    f"encryption_key stands on the command line, where every user of this machine can read it: "
    f"set the environment variable {KEY_VARIABLE} instead"
)


def hide_passphrase(passphrase: str | None) -> bool:
    """Take it out of sys.argv, hand it on by the environment, and say whether it stood there.

    Several GPUs have a process each, which Lightning starts with the words of sys.argv.
    """
    places = [place for place, word in enumerate(sys.argv) if _is_passphrase(word)]
    if passphrase is None or not places:
        return False
    for place in places:
        sys.argv[place] = _LEFT_TO_THE_ENVIRONMENT
    os.environ[KEY_VARIABLE] = passphrase
    return True


def _is_passphrase(word: str) -> bool:
    try:
        return split_override(word)[0] == _KEY
    except SpecError:
        return False
