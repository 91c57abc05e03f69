"""The text of a label file, in whatever encoding its writer left it."""

from __future__ import annotations

import codecs
import os
from typing import NamedTuple

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class LabelText(NamedTuple):
    """What a file says, and whether it took more than UTF-8 to read it."""

    text: str
    is_odd: bool  # UTF-16, or letters of another encoding, taken for Latin-1


def read_label_text(path: str | os.PathLike[str]) -> LabelText:
    """Read UTF-8, UTF-16 by its byte order mark, and what is neither as Latin-1.

    Latin-1 gives every byte a letter, so that only class names, never numbers, can be misread.

    Raises:
        OSError: the file is missing or may not be read.
        ValueError: the file is no text, there are zero bytes in it.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_UTF_16_MARKS):
        found = LabelText(data.decode("utf-16"), is_odd=True)
    else:
        try:
            found = LabelText(data.decode("utf-8-sig"), is_odd=False)
        except UnicodeDecodeError:
            found = LabelText(data.decode("latin-1"), is_odd=True)
    if "\0" in found.text:
        raise ValueError(f"{os.fspath(path)}: no text, it has zero bytes")
    return found
