"""A disk that fills up under TensorBoard, which says neither where nor only once."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def folder_named(folder: Path) -> Iterator[None]:
    """Name the folder in a full disk's error that names no file, and say it once.

    TensorBoard writes in a thread, whose error is raised again by the next figure; the thread's own
    traceback is not shown.

    Raises:
        OSError: the disk is full or the quota is used up.
    """
    shown = threading.excepthook

    def show(failed: threading.ExceptHookArgs) -> None:
        if not _is_full(failed.exc_value):
            shown(failed)

    threading.excepthook = show
    try:
        yield
    except OSError as error:
        if not _is_full(error) or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        threading.excepthook = shown


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL
