"""What the columns of a YOLO line mean: a box, a track, a polygon or keypoints.

| columns | what they are |
|---|---|
| 5 | class, and the box: centre and size |
| 6 | also a score, or a track's number |
| 7 | class, box, score and a track's number, which is a whole number; or class and three corners |
| 9, 11, ... | class and the corners of a polygon |
| 5 + K * D | class, box, and K keypoints of D numbers: kpt_shape of data.yaml says so |

A line that can be two of these is none of them, unless the other lines of its set leave no doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

Reading: TypeAlias = Literal["box", "polygon", "keypoints"]
KptShape: TypeAlias = tuple[int, ...] | None  # (K, D); () for none at all; None: nobody said

_BOX = 5  # class and box
_SCORE_AND_TRACK = 2  # columns that may stand behind it
_FEWEST_TO_SETTLE = 10  # lines of more than 6 columns; fewer say nothing about a set
_ENOUGH_TO_SETTLE = 0.3  # of them; in a set of keypoints next to none has no such reading
_SLACK = 0.1  # of a box's side, that its keypoints may lie outside of it
_VISIBILITIES = (0.0, 1.0, 2.0)


def readings(words: Sequence[str], kpt_shape: KptShape = None) -> set[Reading]:
    """Give all that a line can be; nothing where its columns are none of these.

    Raises:
        ValueError: a word is no number.
    """
    numbers = [float(word) for word in words]
    behind_box = len(words) - _BOX
    if kpt_shape:
        behind_keypoints = behind_box - kpt_shape[0] * kpt_shape[1]
        is_known = behind_keypoints == 0 or _may_follow(words, behind_keypoints)
        return {"box"} if is_known or behind_box == 0 or _may_follow(words, behind_box) else set()
    if behind_box in (0, 1):
        return {"box"}
    found: set[Reading] = set()
    if behind_box < 0:
        return found
    if _may_follow(words, behind_box):
        found.add("box")
    if len(words) % 2 and not ("box" in found and not 0 <= numbers[-1] <= 1):
        found.add("polygon")
    if kpt_shape is None and any(_fit_keypoints(numbers, size) for size in (2, 3)):
        found.add("keypoints")
    return found


def settle(lines: Iterable[Sequence[str]], kpt_shape: KptShape) -> Reading | None:
    """Say what the doubtful lines of a set are, by those that can be one thing alone."""
    certain: Counter[Reading] = Counter()
    total = 0
    for words in lines:
        if len(words) <= _BOX + 1:
            continue
        try:
            found = readings(words, kpt_shape)
        except ValueError:
            continue
        total += 1
        if len(found) == 1:
            certain.update(found - {"keypoints"})
    if total < _FEWEST_TO_SETTLE or len(certain) != 1:
        return None
    ((kind, count),) = certain.items()
    return kind if count >= _ENOUGH_TO_SETTLE * total else None


def _may_follow(words: Sequence[str], count: int) -> bool:
    """Whether the last columns can be a score, a track's number, or both in this order."""
    if count == 1:
        return True
    is_whole = words[-1].removeprefix("-").isdigit()
    return count == _SCORE_AND_TRACK and is_whole and 0 <= float(words[-2]) <= 1


def _fit_keypoints(numbers: Sequence[float], size: int) -> bool:
    """Whether what follows the box can be keypoints of so many numbers, each in it or unknown."""
    x, y, width, height = numbers[1:_BOX]
    rest = numbers[_BOX:]
    if len(rest) % size or not (0 < width <= 1 and 0 < height <= 1):
        return False
    if size == len(_VISIBILITIES):
        return all(number in _VISIBILITIES for number in rest[2::3])
    reach_x, reach_y = (side * (0.5 + _SLACK) for side in (width, height))
    return all(
        (abs(u - x) <= reach_x and abs(v - y) <= reach_y) or (u == 0 and v == 0)
        for u, v in zip(rest[::2], rest[1::2], strict=True)
    )
