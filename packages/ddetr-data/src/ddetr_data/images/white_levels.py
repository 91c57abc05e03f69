"""Images of more than 8 bits a channel: one value of a whole set stands for white, not of an image.

Values are divided by the white level: what is darker in the file is darker to a network, whatever
else the image shows. What lies above the level is white, what lies below zero black.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

logger = logging.getLogger(__name__)

Numbers: TypeAlias = Literal["integer", "float"]  # what the pixels of a deep image are

# What cameras and scanners give, in 16 bits; the last two only where a file has 32.
_INTEGER_LEVELS = tuple(2.0**bits - 1 for bits in (8, 10, 12, 14, 16, 24, 32))
_USUAL = {"integer": 65535.0, "float": 1.0}  # of 16 bits, and of what libraries write as floats
_one_thread = threading.Lock()


@dataclass(frozen=True)
class WhiteLevels:
    """A value for whole numbers and one for floats; None where nothing says one."""

    integer: float | None = None
    floating: float | None = None

    def __str__(self) -> str:
        named = {"whole numbers": self.integer, "floats": self.floating}
        said = [f"{level:g} of {name}" for name, level in named.items() if level is not None]
        return ", ".join(said) or "none"

    def of(self, numbers: Numbers) -> float:
        """What is white; where nothing says it, 65535 or 1.0, which is logged once."""
        level = self.integer if numbers == "integer" else self.floating
        if level is None:
            with _one_thread:
                _tell(numbers)
        return level or _USUAL[numbers]

    def covering(self) -> WhiteLevels:
        """The levels for images whose largest values these are.

        Whole numbers get 2^n - 1 with the smallest n of 8, 10, 12, 14, 16 (then 24, 32) that
        covers them; floats get 1 where none is larger, or else the same.
        """
        return WhiteLevels(
            _covering(self.integer, _INTEGER_LEVELS),
            _covering(self.floating, (1.0, *_INTEGER_LEVELS)),
        )

    def or_else(self, other: WhiteLevels) -> WhiteLevels:
        """Fill in what is None here."""
        return WhiteLevels(
            other.integer if self.integer is None else self.integer,
            other.floating if self.floating is None else self.floating,
        )

    @classmethod
    def largest(cls, parts: Iterable[WhiteLevels]) -> WhiteLevels:
        """The larger one of each value."""
        found = list(parts)
        integers = [each.integer for each in found if each.integer is not None]
        floats = [each.floating for each in found if each.floating is not None]
        return cls(max(integers, default=None), max(floats, default=None))


USUAL_WHITE = WhiteLevels(_USUAL["integer"], _USUAL["float"])


def _covering(value: float | None, levels: tuple[float, ...]) -> float | None:
    if value is None:
        return None
    return next((level for level in levels if value <= level), value)


@lru_cache
def _tell(numbers: Numbers) -> None:
    logger.warning(
        "images of more than 8 bits a channel are met, and neither the model nor "
        "dataset.%s_white_level says which value is white: %g is taken for it",
        numbers,
        _USUAL[numbers],
    )
