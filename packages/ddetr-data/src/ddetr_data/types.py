"""What crosses the package's borders: categories, labels and detections.

N objects of one image, K detections of one image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddetr_data.locations import AnyFile
from ddetr_data.safe_text import shown_text
from ddetr_data.thresholds import ClassThresholds, Threshold

ImageLike: TypeAlias = AnyFile | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
# What picks some of a table's rows: a mask, indices or a slice.
Rows: TypeAlias = NDArray[np.bool_] | NDArray[np.int64] | slice

Found = TypeVar("Found", bound="Detections")

_SHOWN = 5  # detections that one line lists


@dataclass(frozen=True)
class Category:
    """A class of objects; its id is the model's class index."""

    id: int
    name: str


@dataclass(frozen=True)
class Detection:
    """One object that was found."""

    box_xyxy: tuple[float, float, float, float]  # pixels of the original, EXIF-turned image
    score: float
    label: int  # category id
    name: str  # of the class; class_<id> where it is not known

    def __str__(self) -> str:
        """Class, score, and left, top, width and height in whole pixels."""
        left, top, right, bottom = self.box_xyxy
        box = ", ".join(f"{round(side)}" for side in (left, top, right - left, bottom - top))
        return f"{shown_text(self.name)} {self.score:.2f} [{box}]"


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """What a detector found in one image, best first.

    `detections[0]` is one `Detection`, and so is what a loop gives; a mask, indices or a slice pick
    some of them: `detections[detections.scores > 0.5]`.
    """

    boxes_xyxy: NDArray[np.float32]  # (K, 4), pixels of the original, EXIF-turned image
    scores: NDArray[np.float32]  # (K,)
    labels: NDArray[np.int64]  # (K,), category ids

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.labels.shape != (count,):
            raise ValueError(
                "detections must agree in number, got boxes "
                f"{self.boxes_xyxy.shape}, scores {self.scores.shape}, labels {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, rows: int) -> Detection: ...

    @overload
    def __getitem__(self: Found, rows: Rows) -> Found: ...

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, (int, np.integer)):
            return self.keep(rows)
        left, top, right, bottom = self.boxes_xyxy[rows].tolist()
        label = int(self.labels[rows])
        box = (left, top, right, bottom)
        return Detection(box, float(self.scores[rows]), label, self.name_of(label))

    def __repr__(self) -> str:
        """Their number, and the best of them: "1 detection: person 0.93 [12, 8, 40, 90]"."""
        if not len(self):
            return "no detections"
        listed = [str(self[index]) for index in range(min(len(self), _SHOWN))]
        more = len(self) - len(listed)
        noun = "detection" if len(self) == 1 else "detections"
        return f"{len(self)} {noun}: {', '.join(listed)}" + (f", and {more} more" if more else "")

    def name_of(self, label: int) -> str:
        """Give the name of a class, which these detections do not know: class_<id>."""
        return nameless(label)

    def keep(self: Found, rows: Rows) -> Found:
        """Leave out the detections that a mask (K,), indices or a slice do not name."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[rows],
            scores=self.scores[rows],
            labels=self.labels[rows],
        )

    def above(self: Found, threshold: Threshold) -> Found:
        """Keep the detections whose score is at least threshold, or that of their class."""
        if isinstance(threshold, ClassThresholds):
            return self.keep(self.scores >= threshold.of(self.labels))
        return self.keep(self.scores >= threshold)

    def of_classes(self: Found, ids: Collection[int]) -> Found:
        """Keep the detections whose label is one of the ids."""
        return self.keep(np.isin(self.labels, list(ids)))

    @classmethod
    def empty(cls) -> Detections:
        """No detection, in the right dtypes and shapes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def nameless(label: int) -> str:
    """What a class without a name is called."""
    return f"class_{label}"


@dataclass(frozen=True, eq=False)
class Annotations:
    """The objects of one image."""

    boxes_xywh: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros((0, 4))
    )  # (N, 4), pixels: left, top, width, height
    labels: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # (N,), category ids
    is_crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))  # (N,)
    area: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (N,), square pixels
    # (N,), true for a crowd that is a region to ignore; none is where the argument is left out
    is_region: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if not len(self.is_region):
            object.__setattr__(self, "is_region", np.zeros(len(self.labels), np.bool_))

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def join(cls, parts: Iterable[Annotations]) -> Annotations:
        """Put the objects of several images one after the other."""
        columns = [tuple(vars(part).values()) for part in parts]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def keep(self, rows: Rows) -> Annotations:
        """Leave out the objects that a mask (N,), indices or a slice do not name."""
        return Annotations(
            self.boxes_xywh[rows],
            self.labels[rows],
            self.is_crowd[rows],
            self.area[rows],
            self.is_region[rows],
        )


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image and its objects, as every source's JSON is brought to."""

    id: int
    path: AnyFile
    file_name: str  # as the JSON writes it
    width: int
    height: int
    annotations: Annotations = field(default_factory=Annotations)
    source: int = 0  # which data source it came from

    @property
    def boxes_xywh(self) -> NDArray[np.float64]:
        """(N, 4), pixels: left, top, width, height."""
        return self.annotations.boxes_xywh

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,), category ids."""
        return self.annotations.labels

    @property
    def is_crowd(self) -> NDArray[np.bool_]:
        """(N,), true for a box around a group, which only scoring looks at, and for a region."""
        return self.annotations.is_crowd

    @property
    def is_region(self) -> NDArray[np.bool_]:
        """(N,), true for a crowd that is a region to ignore: what lies in it is not trained."""
        return self.annotations.is_region

    @property
    def area(self) -> NDArray[np.float64]:
        """(N,), square pixels, of the segment where the data gave it, else of the box."""
        return self.annotations.area
