"""What crosses the package's borders: categories, labels and detections.

N objects of one image, K detections of one image.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddetr_data.locations import AnyFile

ImageLike: TypeAlias = AnyFile | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Category:
    """A class of objects; its id is the model's class index."""

    id: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image, best first."""

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

    def keep(self, mask: NDArray[np.bool_]) -> Detections:
        """Leave out the detections where mask (K,) is false."""
        return Detections(self.boxes_xyxy[mask], self.scores[mask], self.labels[mask])

    def above(self, threshold: float) -> Detections:
        """Keep the detections whose score is at least threshold."""
        return self.keep(self.scores >= threshold)

    def of_classes(self, ids: Collection[int]) -> Detections:
        """Keep the detections whose label is one of the ids."""
        return self.keep(np.isin(self.labels, list(ids)))

    @classmethod
    def empty(cls) -> Detections:
        """No detection, in the right dtypes and shapes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


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

    def keep(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Annotations:
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
