"""Write a set of files so that each one appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["staged"]

_STAGING_NAME = ".unfinished"


@contextmanager
def staged(folder: Path, is_stale: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """Give a folder to write in, and move its files to `folder` when the block succeeds.

    Files of `folder` whose name is_stale and that were not written anew are removed then. When the
    block fails, or is interrupted, `folder` stays as it was. One run at a time may use a folder.
    """
    staging = folder / _STAGING_NAME
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    staging.mkdir(parents=True)
    try:
        yield staging
        written = sorted(path.name for path in staging.iterdir())
        for name in written:
            _sync(staging / name)
        for name in written:
            os.replace(staging / name, folder / name)
        for path in sorted(folder.iterdir()):
            if path.name not in written and path.is_file() and is_stale(path.name):
                path.unlink()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
