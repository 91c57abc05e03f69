"""The text of a label file, in whatever encoding its writer left it."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator

from ddetr_data.files import read_regular

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_label_text(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """Read UTF-8, UTF-16 by its byte order mark, and what is neither as Latin-1.

    Latin-1 gives every byte a letter, so that only class names, never numbers, can be misread.

    Returns:
        The text, and whether it took more than UTF-8 to read it.

    Raises:
        OSError: the file is missing or may not be read.
        ValueError: the file is no text, there are zero bytes in it.
    """
    data = read_regular(path)
    if data.startswith(_UTF_16_MARKS):
        text, is_odd = data.decode("utf-16"), True
    else:
        try:
            text, is_odd = data.decode("utf-8-sig"), False
        except UnicodeDecodeError:
            text, is_odd = data.decode("latin-1"), True
    if "\0" in text:
        raise ValueError(f"{os.fspath(path)}: no text, it has zero bytes")
    return text, is_odd


def numbered_lines(text: str, path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield "file:line" and the line itself of each line that is not blank."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line and not line.isspace():
            yield f"{os.fspath(path)}:{number}", line
