"""Files that are read: regular ones alone, since a pipe or a device may never answer or end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from ddetr_data.faults import DataError

# What lies here is a stream by another name: /dev/stdout, and what a shell's >(...) stands for.
STREAM_FOLDERS = ("/dev", "/dev/fd", "/proc/self/fd")
# Errors of this process, which has too many files open or no memory: no file is to blame.
_OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def check_regular(path: str | os.PathLike[str], what: str = "") -> None:
    """Refuse what would never end or has no bytes: pipes, devices and folders.

    Args:
        path: what is to be read.
        what: the words before the path in the error, such as "the image".

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no regular file.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        name = f"{what} {os.fspath(path)}".lstrip()
        raise DataError(f"{name} must be a file, it is {kind}")


def open_regular(path: str | os.PathLike[str], what: str = "") -> BinaryIO:
    """Open a file for reading; errors as check_regular, and OSError."""
    check_regular(path, what)
    return Path(path).open("rb")


def read_regular(path: str | os.PathLike[str], what: str = "") -> bytes:
    """Read all of a file; errors as open_regular."""
    with open_regular(path, what) as file:
        return file.read()


def is_open_stream(path: Path) -> bool:
    """Whether the path is another name for what this process has open, as a shell's <(...)."""
    return os.path.abspath(path.parent) in STREAM_FOLDERS[1:] or str(path) == "/dev/stdin"


def is_of_this_process(error: BaseException) -> bool:
    """Whether an error says that this process is short of open files or memory."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _OUR_OWN
    )
