"""Write files so that each one appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["naming", "staged", "write_whole"]

_STAGING_NAME = ".unfinished"


@contextmanager
def staged(folder: Path, is_stale: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """Give a folder to write in, and move its files to `folder` when the block succeeds.

    Files of `folder` whose name is_stale and that were not written anew are removed then. When the
    block fails, or is interrupted, `folder` stays as it was. One run at a time may use a folder.

    Raises:
        OSError: the folder cannot be written, or the disk is full; it names the folder.
    """
    staging = folder / _STAGING_NAME
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    staging.mkdir(parents=True)
    try:
        with naming(folder):
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


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 file that is never seen half done, making its folder.

    Raises:
        OSError: the folder cannot be written, or the disk is full; it names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, that is short: the file's may be as long as names can be.
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    unfinished = path.with_name(f".{digest}{_STAGING_NAME}")
    try:
        with naming(path):
            unfinished.write_text(text, encoding="utf-8", newline="\n")
            os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Name the place in an error that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise


def _sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
