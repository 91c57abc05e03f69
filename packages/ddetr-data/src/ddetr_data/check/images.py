"""Look at image files one by one: can they be used, and what is unusual about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ddetr_data.faults import DataError
from ddetr_data.images import (
    ImageHeader,
    check_whole,
    format_of_ending,
    read_facts,
    read_header,
    read_image,
    size_fault,
)
from ddetr_data.locations import AnyFile, fetched

_SAME_FORMAT = {"MPO": "JPEG"}  # phones write several JPEGs into one file
_GREY_MODES = ("1", "L", "LA", "La")


class ImageTask(NamedTuple):
    """An image to look at."""

    path: AnyFile
    stated_wh: tuple[int, int] | None = None  # size in the labels, in pixels, where they have one
    identity: int | None = None  # in the labels, where they have one that is kept

    def __str__(self) -> str:
        return str(self.path) if self.identity is None else f"image {self.identity}: {self.path}"


class Inspection(NamedTuple):
    """What an image has: faults with a detail each, and a hash of its bytes when it was decoded."""

    faults: tuple[tuple[str, str], ...]
    digest: bytes | None
    unlike: ImageHeader | None = None  # where it is not of the size that the labels state


@dataclass(frozen=True)
class ImageInspector:
    """Looks at images; picklable, so that other processes can do it."""

    decode: bool  # False reads headers and ends of files alone

    def __call__(self, tasks: Sequence[ImageTask]) -> list[Inspection]:
        """Inspect the images, in order; what cannot be read is a fault, never an exception."""
        return [self._inspect(task) for task in tasks]

    def _inspect(self, task: ImageTask) -> Inspection:
        try:
            path = fetched(task.path)
            header = read_header(path)
            faults = [(fault, f"{task}{more}") for fault, more in _peculiarities(path)]
            if self.decode:
                read_image(path)
                digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            else:
                check_whole(path)
                digest = None
        except FileNotFoundError:
            return Inspection((("missing_image", str(task)),), None)
        except DataError as error:
            prefix = "" if task.identity is None else f"image {task.identity}: "
            return Inspection((("unreadable_image", f"{prefix}{error}"),), None)
        if task.stated_wh is not None and task.stated_wh != header.size_wh:
            stated, actual = ("{} x {}".format(*size) for size in (task.stated_wh, header.size_wh))
            detail = f"{task} is {actual} pixels, the labels say {stated}"
            faults.append((size_fault(task.stated_wh, header), detail))
            return Inspection(tuple(faults), digest, header)
        if header.orientation != 1:
            faults.append(("upright_by_exif", str(task)))
        return Inspection(tuple(faults), digest)


def _peculiarities(path: AnyFile) -> Iterator[tuple[str, str]]:
    """What is unusual about a file that can be opened, and what to say of it behind its name."""
    facts = read_facts(path)
    promised = format_of_ending(path.suffix) or ""
    if _SAME_FORMAT.get(promised, promised) != _SAME_FORMAT.get(facts.format, facts.format):
        yield "misnamed_image", f" is {facts.format}"
    found = {
        "grey_image": facts.mode in _GREY_MODES,
        "cmyk_image": facts.mode == "CMYK",
        "palette_image": facts.mode in ("P", "PA"),
        "deep_image": facts.is_deep,
        "transparent_image": facts.is_transparent,
        "animated_image": facts.is_animated,
    }
    for fault, holds in found.items():
        if holds:
            yield fault, ""
