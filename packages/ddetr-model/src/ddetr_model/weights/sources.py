"""What weights are read from: a path, or a file that the caller has opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

__all__ = ["Source", "name_of", "open_source", "path_of"]

Source: TypeAlias = str | os.PathLike[str] | BinaryIO


def name_of(source: Source) -> str:
    """Say what errors call a source: its path, where an open file tells one."""
    path = path_of(source)
    return "the open file" if path is None else str(path)


def path_of(source: Source) -> Path | None:
    """Give a source's path; None for an open file without one."""
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
    return Path(name) if isinstance(name, (str, os.PathLike)) else None


@contextmanager
def open_source(source: Source) -> Iterator[BinaryIO]:
    """Yield a source as an open file at its start; one that was given open stays open.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: the file was opened as text.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"no weights at {path}")
        with path.open("rb") as file:
            yield file
        return
    if isinstance(source.read(0), str):
        raise TypeError(f"{name_of(source)} is opened as text: open it with mode 'rb'")
    source.seek(0)
    yield source
