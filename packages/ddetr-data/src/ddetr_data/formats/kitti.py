"""KITTI label files: one object a line, 15 columns, and a 16th for the score of a detection.

Class names may hold blanks ("person group"): the last 14 or 15 columns are numbers, whatever stands
before them is the name. A name that ends in a whole number is therefore only understood with a
score, and one that ends in a number with decimals is a line of too many columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile

from ddetr_data.files import write_whole
from ddetr_data.formats.label_text import numbered_lines, read_label_text

DONT_CARE = "DontCare"  # the class of a region that was not labelled
_LONGEST_NAME = 255  # characters of a class name; more is a file without line ends
_NUMBERS = 14  # numeric columns without a score
_BOX = slice(3, 7)  # left, top, right, bottom among the numeric columns


class KittiError(ValueError):
    """A label line or file that does not follow the format; the text starts with file:line."""


@dataclass(frozen=True)
class KittiObject:
    """One object; boxes in pixels, 3D columns as read and 0 where nobody knows them."""

    name: str
    box_xyxy: tuple[float, float, float, float]
    truncated: float = 0.0  # fraction of the object outside the image, 0 to 1
    occluded: int = 0  # 0 visible, 1 partly, 2 largely, 3 unknown
    alpha: float = 0.0
    dimensions_hwl: tuple[float, float, float] = (0.0, 0.0, 0.0)
    location_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_y: float = 0.0
    score: float | None = None


def parse_kitti_line(line: str, where: str) -> KittiObject:
    """Read one line that is not blank; `where` is the "file:line" that an error starts with.

    Values are not judged here: NaN and inverted boxes come through, for the caller to decide.

    Raises:
        KittiError: fewer than 15 columns or more than 16, a column after the name that is not a
            number, or a name of more than 255 characters.
    """
    words = line.split()
    numbers = _numeric_tail(words)
    if len(numbers) < _NUMBERS or _ends_in_decimals(words[: -len(numbers)]):
        raise KittiError(f"{where}: {_fault(words)}")
    name = " ".join(words[: len(words) - len(numbers)])
    if len(name) > _LONGEST_NAME:
        raise KittiError(f"{where}: a class name of {len(name)} characters, line ends are missing")
    left, top, right, bottom = numbers[_BOX]
    return KittiObject(
        name=name,
        box_xyxy=(left, top, right, bottom),
        truncated=numbers[0],
        occluded=int(numbers[1]) if abs(numbers[1]) < 2**31 else 3,
        alpha=numbers[2],
        dimensions_hwl=(numbers[7], numbers[8], numbers[9]),
        location_xyz=(numbers[10], numbers[11], numbers[12]),
        rotation_y=numbers[13],
        score=numbers[14] if len(numbers) > _NUMBERS else None,
    )


def read_kitti_lines(
    path: str | os.PathLike[str],
) -> Iterator[tuple[str, KittiObject | KittiError]]:
    """Yield ("file:line", object or error) for each line that is not blank; none stops the others.

    Raises:
        FileNotFoundError: no such label file.
        KittiError: the file is no text.
    """
    try:
        text, _ = read_label_text(path)
    except ValueError as error:
        raise KittiError(f"{os.fspath(path)}:1: not a text file") from error
    for where, line in numbered_lines(text, path):
        try:
            yield where, parse_kitti_line(line, where)
        except KittiError as error:
            yield where, error


def read_kitti(path: str | os.PathLike[str]) -> list[KittiObject]:
    """All objects of a label file, in file order; an empty file has none.

    Raises:
        KittiError: the first malformed line, named file:line.
    """
    objects = []
    for _, item in read_kitti_lines(path):
        if isinstance(item, KittiError):
            raise item
        objects.append(item)
    return objects


def format_kitti_line(item: KittiObject) -> str:
    """15 columns, 16 with a score, no line end; blanks in the name become "_" for other readers."""
    numbers = [
        item.alpha,
        *item.box_xyxy,
        *item.dimensions_hwl,
        *item.location_xyz,
        item.rotation_y,
    ]
    if item.score is not None:
        numbers.append(item.score)
    visibility = (_decimal(item.truncated), str(item.occluded))
    return " ".join(("_".join(item.name.split()), *visibility, *map(_decimal, numbers)))


def format_dont_care_line(box_xyxy: tuple[float, float, float, float]) -> str:
    """A region that was not labelled, as KITTI's own files have it; no line end."""
    return format_kitti_line(
        KittiObject(
            DONT_CARE,
            box_xyxy,
            truncated=-1,
            occluded=-1,
            alpha=-10,
            dimensions_hwl=(-1, -1, -1),
            location_xyz=(-1000, -1000, -1000),
            rotation_y=-10,
        )
    )


def write_kitti(path: str | os.PathLike[str], objects: Iterable[KittiObject]) -> None:
    """Write a label file, making its folder; no objects give an empty file."""
    text = "".join(f"{format_kitti_line(item)}\n" for item in objects)
    write_whole(path, text, sync=False)


def _numeric_tail(words: list[str]) -> list[float]:
    """The numbers that end the line, at most 14 and a score."""
    if len(words) <= _NUMBERS + 2:
        with suppress(ValueError):  # a name of several words, or a malformed line
            return [float(word) for word in words[1:]]
    tail = takewhile(_is_number, reversed(words[-(_NUMBERS + 1) :]))
    return [float(word) for word in tail][::-1]


def _ends_in_decimals(name: list[str]) -> bool:
    """Whether a name's last word is a number with decimals: a column too many, and no name."""
    return len(name) > 1 and "." in name[-1] and _is_number(name[-1])


def _fault(words: list[str]) -> str:
    if any("," in word for word in words):
        return "columns must be separated by blanks, not commas"
    if len(words) <= _NUMBERS or all(map(_is_number, words[1:])):
        return f"a KITTI line has 15 columns (16 with a score), this one has {len(words)}"
    tail = words[-_NUMBERS:]
    bad = next((word for word in tail if not _is_number(word)), words[0])
    return f"a class name and 14 or 15 numbers are expected, {bad!r} stands in a wrong column"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _decimal(value: float) -> str:
    """Two decimals at least, six at most."""
    text = f"{value:.6f}".rstrip("0")
    integer, point, decimals = text.partition(".")
    return f"{integer}.{decimals:0<2}" if point else text  # no point in nan and inf
