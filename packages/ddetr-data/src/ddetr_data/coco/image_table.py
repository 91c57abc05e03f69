"""Images and their objects as columns: small in memory, and the same on disk as in RAM.

I images, N objects of all images together.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ddetr_data.locations import AnyFile, exists, is_url, join
from ddetr_data.types import Annotations, ImageRecord


@dataclass(frozen=True, eq=False)
class ImageColumns:
    """The arrays behind an ImageTable; every one may be memory-mapped."""

    ids: NDArray[np.int64]  # (I,)
    sizes_wh: NDArray[np.int32]  # (I, 2), width then height in pixels
    sources: NDArray[np.int32]  # (I,), index into the image folders
    names: NDArray[np.uint8]  # UTF-8 bytes of all file names, one after the other
    name_ends: NDArray[np.int64]  # (I + 1,), image i's name is names[name_ends[i]:name_ends[i + 1]]
    object_ends: NDArray[np.int64]  # (I + 1,), likewise for the objects
    boxes_xywh: NDArray[np.float64]  # (N, 4), pixels
    labels: NDArray[np.int64]  # (N,), category ids
    is_crowd: NDArray[np.bool_]  # (N,), regions too
    area: NDArray[np.float64]  # (N,), square pixels
    is_region: NDArray[np.bool_]  # (N,)

    @property
    def objects(self) -> Annotations:
        """The N objects of all images together."""
        columns = (self.boxes_xywh, self.labels, self.is_crowd, self.area, self.is_region)
        return Annotations(*columns)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(N,), the index of each object's image."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.object_ends))

    def as_dict(self) -> dict[str, NDArray[Any]]:
        """Name every array."""
        return {column.name: getattr(self, column.name) for column in fields(self)}

    @classmethod
    def join(cls, parts: Sequence[ImageColumns]) -> ImageColumns:
        """Put the images of several parts one after the other."""
        if len(parts) == 1:
            return parts[0]
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in parts[0].as_dict()
            if not name.endswith("_ends")
        }
        for name in ("name_ends", "object_ends"):
            lengths = [np.diff(getattr(part, name)) for part in parts]
            joined[name] = ends_of(np.concatenate(lengths))
        return cls(**joined)

    def keep(self, images: NDArray[np.bool_], objects: NDArray[np.bool_]) -> ImageColumns:
        """Leave out images (I,) and objects (N,); the objects of an image go with it."""
        owners = self.owners
        objects = objects & images[owners]
        lengths = np.diff(self.name_ends)
        left = np.bincount(owners[objects], minlength=len(self.ids))
        return ImageColumns(
            ids=self.ids[images],
            sizes_wh=self.sizes_wh[images],
            sources=self.sources[images],
            names=self.names[np.repeat(images, lengths)],
            name_ends=ends_of(lengths[images]),
            object_ends=ends_of(left[images]),
            **vars(self.objects.keep(objects)),
        )

    def renumbered(self, ids: Mapping[int, int]) -> ImageColumns:
        """Give every object the category id that `ids` has for its own; others are left out."""
        known = np.isin(self.labels, list(ids))
        found, positions = np.unique(self.labels, return_inverse=True)
        labels = np.array([ids.get(id, id) for id in found.tolist()], np.int64)[positions]
        return replace(self, labels=labels).keep(np.ones(len(self.ids), np.bool_), known)


def ends_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn (I,) lengths into (I + 1,) bounds that start at 0."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


class ImageTable(Sequence[ImageRecord]):
    """A sequence of records, each made from the columns when it is asked for, and not kept."""

    def __init__(self, columns: ImageColumns, image_dirs: Sequence[str]) -> None:
        self.columns = columns
        self.image_dirs = tuple(image_dirs)

    def __len__(self) -> int:
        return len(self.columns.ids)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        if isinstance(index, slice):
            return [self._record(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"image index must be below {len(self)}, got {index}")
        return self._record(index % len(self))

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self._record(i) for i in range(len(self)))

    def file_name(self, index: int) -> str:
        """The name of one image, as its JSON writes it."""
        start, stop = self.columns.name_ends[index : index + 2].tolist()
        return self.columns.names[start:stop].tobytes().decode("utf-8", "surrogatepass")

    def folders_and_names(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[str, str]]:
        """Image folder and file name of images from start to stop, faster than by their records."""
        sources = self.columns.sources[start:stop].tolist()
        ends = self.columns.name_ends[start : start + len(sources) + 1].tolist()
        names = self.columns.names[ends[0] : ends[-1]].tobytes()
        for source, first, last in zip(sources, ends[:-1], ends[1:], strict=True):
            name = names[first - ends[0] : last - ends[0]]
            yield self.image_dirs[source], name.decode("utf-8", "surrogatepass")

    def path(self, index: int) -> AnyFile:
        """The path or URL of one image."""
        image_dir = self.image_dirs[int(self.columns.sources[index])]
        return locate_image(image_dir, self.file_name(index))

    def _record(self, index: int) -> ImageRecord:
        columns = self.columns
        first, last = columns.object_ends[index : index + 2].tolist()
        return ImageRecord(
            id=int(columns.ids[index]),
            path=self.path(index),
            file_name=self.file_name(index),
            width=int(columns.sizes_wh[index, 0]),
            height=int(columns.sizes_wh[index, 1]),
            annotations=columns.objects.keep(slice(first, last)),
            source=int(columns.sources[index]),
        )


def as_table(images: Sequence[ImageRecord]) -> ImageTable:
    """Give the images of a set as the table that they are when load_sources made them.

    Raises:
        TypeError: they are a list or another sequence.
    """
    if not isinstance(images, ImageTable):
        raise TypeError(f"images must be an ImageTable, got {type(images).__name__}")
    return images


def is_plain_name(file_name: str) -> bool:
    """Whether the name can have one spelling alone: it is ASCII and without backslashes."""
    return file_name.isascii() and "\\" not in file_name


def locate_image(image_dir: str, file_name: str) -> AnyFile:
    """Join folder and name; a name in another Unicode form or with backslashes is looked for.

    Behind a URL nothing is looked for, since that would cost a request for each image.
    """
    literal = join(image_dir, file_name)
    if is_plain_name(file_name) or is_url(image_dir) or exists(literal):
        return literal
    for form in ("NFC", "NFD"):
        for name in (file_name, file_name.replace("\\", "/")):
            path = join(image_dir, unicodedata.normalize(form, name))
            if exists(path):
                return path
    return literal
