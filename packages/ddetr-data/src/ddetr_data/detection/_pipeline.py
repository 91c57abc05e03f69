"""From images to what is written of them, in stages that go on at the same time.

Threads read images ahead and prepare batches of them, the caller's thread runs the detector, and
threads draw, encode and write behind it. What comes out is in the order of the images, and the same
for any number of threads. With T threads and batches of B images no more than T + B images that are
read, 2 + T / B batches that are prepared, rounded up, and T + B images to write are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

from ddetr_data.detection.detector import Detector, detect, prepare
from ddetr_data.detection.result_writer import Labelled, LeftOut, NamedImage
from ddetr_data.parallel import WorkAhead
from ddetr_data.types import Detections, ImageLike

Item = TypeVar("Item")
Read: TypeAlias = NamedImage | LeftOut
Batch: TypeAlias = tuple[list[Read], Sequence[ImageLike]]  # with the prepared ones of its images
Write: TypeAlias = Callable[[NamedImage, Detections], Labelled]


def label_batches(
    detector: Detector, images: Iterable[Read], write: Write, threads: WorkAhead
) -> Iterator[list[Labelled | LeftOut]]:
    """Detect in images and write them; yield what became of each, a batch at a time.

    A file that does not decode keeps its place in its batch, and the detector is not shown it.

    Raises:
        DetectorError: as detect; and whatever reading and writing raise, after the images before.
    """
    size = detector.batch_size
    ahead = batches_ahead(threads, size)
    batches = threads.map(partial(_prepared, detector), in_batches(images, size), ahead)
    found = _detected(detector, batches)
    # With room for a batch: the detector goes on to the next one while this one is written.
    written = threads.map(partial(_written, write), found, max(threads.threads, size))
    yield from in_batches(written, size)


def batches_ahead(threads: WorkAhead, size: int) -> int:
    """How many batches of so many images are prepared while the detector has one."""
    return 1 + -(-threads.threads // size)


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield so many items at a time; the last ones may be fewer."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _prepared(detector: Detector, batch: list[Read]) -> Batch:
    return batch, prepare(detector, [each.pixels for each in batch if isinstance(each, NamedImage)])


def _detected(
    detector: Detector, batches: Iterable[Batch]
) -> Iterator[LeftOut | tuple[NamedImage, Detections]]:
    for batch, prepared in batches:
        found = iter(detect(detector, prepared))
        for each in batch:
            yield each if isinstance(each, LeftOut) else (each, next(found))


def _written(write: Write, found: LeftOut | tuple[NamedImage, Detections]) -> Labelled | LeftOut:
    return found if isinstance(found, LeftOut) else write(*found)
