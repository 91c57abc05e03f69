"""Where the label file of an image goes: the image's path with another ending."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeVar

__all__ = ["label_names"]

_LONGEST_NAME = 255  # bytes that file systems allow between two slashes

AnyPath = TypeVar("AnyPath", bound=PurePath)


def label_names(relatives: Sequence[AnyPath]) -> dict[AnyPath, AnyPath]:
    """The .txt file of each image; no two are the same. An image may be named more than once.

    The ending is replaced, or kept before .txt (a.jpg.txt) where images differ in it alone, or
    where a folder of images has the shorter name. What would be too long for a name is cut.
    """
    whole = {relative: _behind(relative) for relative in relatives}
    folders = {folder for relative in whole for folder in relative.parents}
    taken = Counter(relative.with_suffix(".txt") for relative in whole) + Counter(folders)
    short = {
        relative: relative.with_suffix(".txt") if taken[relative.with_suffix(".txt")] == 1 else name
        for relative, name in whole.items()
    }
    return short if len(set(short.values())) == len(short) else whole


def _behind(relative: AnyPath) -> AnyPath:
    """The image's whole name and .txt, or the name's beginning and a digest of it."""
    name = f"{relative.name}.txt"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode(relative.name), digest_size=4).hexdigest()
        kept = os.fsencode(relative.name)[: _LONGEST_NAME - len(digest) - len("~.txt")]
        name = f"{kept.decode(errors='ignore')}~{digest}.txt"
    return relative.with_name(name)
