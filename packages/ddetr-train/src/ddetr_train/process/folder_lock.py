"""One training at a time in a results folder."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ddetr_train.process.launcher import is_first_process

LOCK_NAME = ".train.lock"

# Process and folder of each lock; a forked process inherits the list, but no lock.
_held: set[tuple[int, Path]] = set()


class FolderInUseError(ValueError):
    """Another training works in the results folder."""


@contextmanager
def folder_locked(results_dir: Path) -> Iterator[None]:
    """Hold the folder until the block ends; a killed process holds nothing.

    The lock belongs to the process, not to its data-loading workers, which may outlive it a little.
    Systems without such locks go without. Inside a block that holds the folder it does nothing.

    Raises:
        FolderInUseError: another process holds it; the text says which.
        OSError: the folder cannot be made or written.
    """
    mine = os.getpid(), results_dir.resolve()
    if mine in _held or not is_first_process():
        yield
        return
    results_dir.mkdir(parents=True, exist_ok=True)
    path = results_dir / LOCK_NAME
    with path.open("a+", encoding="utf-8") as file:
        if not _is_taken(file):
            file.seek(0)
            holder = file.read() or "an unknown process"
            raise FolderInUseError(
                f"{results_dir} is in use by another training ({holder}): wait for its end, or "
                "set another results_dir"
            )
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()  # here a full disk refuses
            _held.add(mine)
            yield
        finally:
            _held.discard(mine)
            path.unlink(missing_ok=True)


def _is_taken(file: IO[str]) -> bool:
    """Take the file's lock; False when another process holds it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # others: a disk without locks
    return True
