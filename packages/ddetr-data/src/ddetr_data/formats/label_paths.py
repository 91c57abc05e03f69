"""Where the label file of an image goes: the image's path with another ending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeVar

from ddetr_data.files import fitting_name

AnyPath = TypeVar("AnyPath", bound=PurePath)


def label_names(relatives: Sequence[AnyPath]) -> dict[AnyPath, AnyPath]:
    """The .txt file of each image; no two are the same. An image may be named more than once.

    The ending is replaced, or kept before .txt (a.jpg.txt) where images differ in it alone, or
    where a folder of images has the shorter name. What would be too long for a name is cut.
    """
    with_ending = {
        relative: relative.with_name(fitting_name(relative.name, ".txt")) for relative in relatives
    }
    folders = {folder for relative in with_ending for folder in relative.parents}
    taken = Counter(relative.with_suffix(".txt") for relative in with_ending) + Counter(folders)
    short = {
        relative: relative.with_suffix(".txt") if taken[relative.with_suffix(".txt")] == 1 else name
        for relative, name in with_ending.items()
    }
    return short if len(set(short.values())) == len(short) else with_ending
