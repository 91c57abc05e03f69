"""What was found in a folder: splits, images, labels, classes, and what was not understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ddetr_data import DataError

Split: TypeAlias = Literal["train", "val", "test"]
Kind: TypeAlias = Literal["COCO", "YOLO", "VOC", "KITTI"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class LayoutError(DataError):
    """A folder of which no spec can be made; the text says what was looked for."""


@dataclass(frozen=True)
class LabelPair:
    """A folder of images and that of their labels, sub-folders included."""

    image_dir: Path
    label_dir: Path
    images: int
    labelled: int


@dataclass(frozen=True)
class FoundPart:
    """Images of one split that lie together."""

    split: Split
    image_dir: Path
    images: int
    labelled: int  # images with a label file, or with a row in the JSON
    json_file: Path | None = None  # of COCO
    pair: LabelPair | None = None  # of the other formats


@dataclass(frozen=True)
class Source:
    """Labelled images of one split, ready to train on."""

    split: Split
    image_dir: Path
    json_file: Path


@dataclass
class FoundSet:
    """A labelled set, as it lies there."""

    kind: Kind
    parts: list[FoundPart]
    class_names: tuple[str, ...]
    sizes_wh: list[tuple[int, int]]  # of some of its images
    not_understood: list[tuple[Path, str]] = field(default_factory=list)
    classmap: Path | None = None  # YOLO's list of names
    split_lists: dict[str, Split] = field(default_factory=dict)  # VOC: an image's stem -> its split

    @property
    def splits(self) -> set[Split]:
        """Name the splits that have images."""
        listed = set(self.split_lists.values())
        return listed if listed else {part.split for part in self.parts}

    def count(self, split: Split) -> int:
        """Count the images of a split."""
        if self.split_lists:
            return list(self.split_lists.values()).count(split)
        return sum(part.images for part in self.parts if part.split == split)


def split_in(names: Sequence[str]) -> Split | None:
    """Tell the split that folder or file names say, the innermost first; None where none does."""
    for name in reversed(names):
        words = _words(name)
        for split, known in _NAMES.items():
            if any(word in known for word in words):
                return split
    return None


def _words(name: str) -> list[str]:
    """Cut a name at its signs and digits: instances_train2017.json has the word train."""
    letters = "".join(sign if sign.isalpha() else " " for sign in name.lower())
    return letters.split()
