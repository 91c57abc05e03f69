"""What is kept of the detections in an image or in a frame of a video: files, and counts."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ddetr_data.categories import ClassNames
from ddetr_data.detection._detection_files import write_detection_files
from ddetr_data.detection._rank_file import (
    Found,
    RankFile,
    rank_file,
    read_rank_file,
    remove_rank_files,
)
from ddetr_data.detection.config import InferenceConfig
from ddetr_data.detection.rank_slice import ALONE, RankSlice
from ddetr_data.detection.spec_thresholds import threshold_for
from ddetr_data.detection.summary import InferenceSummary
from ddetr_data.faults import DataError
from ddetr_data.formats import KittiObject, write_kitti
from ddetr_data.images import (
    UnwritableImageError,
    class_colors,
    draw_detections,
    is_of_one_file,
    save_image,
)
from ddetr_data.types import Category, Detections

logger = logging.getLogger(__name__)

_IMAGES, _FRAMES = "images", "frames"  # in this order in the files of all detections


@dataclass(frozen=True)
class NamedImage:
    """An image to label, and the names of its results."""

    pixels: Image.Image
    name: str  # in the files of all detections
    label_file: Path  # below labels/
    annotated: Path | None = None  # below images_annotated/; None for a frame of a video


@dataclass(frozen=True)
class Labelled:
    """What was written of an image, to be counted."""

    name: str
    size_wh: tuple[int, int]
    kept: Detections
    names: tuple[str, ...]  # of the classes of what was kept
    drawn: Image.Image | None  # a frame with its boxes; what an image's look like is in a file
    unwritten: tuple[tuple[Path, str], ...]  # files that could not be written, and why


@dataclass(frozen=True)
class LeftOut:
    """A file that does not decode, instead of its image."""

    path: Path
    reason: Exception


class ResultWriter:
    """While entered, writes what is found in images, and counts it.

    Images may be written by several threads at a time, and are counted in their order by one.

    `labels/<image>.txt` has 16 KITTI columns and boxes clipped to the image;
    `images_annotated/<image>` shows them. A file of one image that cannot be written, for its name
    or its rights, is logged and counted. The options may ask for all detections in one COCO JSON,
    one CSV or both: those appear when the writer is finished, and of several processes the first
    one joins what all have found.
    """

    def __init__(
        self,
        results_dir: str | os.PathLike[str],
        categories: Sequence[Category],
        config: InferenceConfig,
        ranks: RankSlice = ALONE,
    ) -> None:
        """Prepare; nothing is written yet.

        Raises:
            ValueError: a colour of the options is none, or a threshold's class is not there.
        """
        class_colors(categories, config.color_map)  # tells once of classes that are not there
        names = {category.name for category in categories}
        self._color_map = {k: v for k, v in (config.color_map or {}).items() if k in names}
        self._threshold = threshold_for(config, categories)
        folder = Path(results_dir)
        self.labels_dir, self.images_dir = folder / "labels", folder / "images_annotated"
        self.videos_dir = folder / "videos_annotated"
        self._folder, self._categories = folder, tuple(categories)
        self._config, self._ranks = config, ranks
        self._per_class: Counter[str] = Counter()
        self._images = self._frames = self._videos = 0
        self._unreadable: list[Path] = []
        self._unwritten: list[Path] = []
        self._kept: Mapping[str, RankFile] = {}
        self._stack = ExitStack()

    def __enter__(self) -> ResultWriter:
        if self._config.coco_json or self._config.csv:
            self._kept = {
                kind: self._stack.enter_context(rank_file(self._folder, kind, self._ranks.index))
                for kind in (_IMAGES, _FRAMES)
            }
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stack.close()
        finally:
            if kind is not None:
                remove_rank_files(self._folder)

    def write(self, image: NamedImage, found: Detections) -> Labelled:
        """Write the files of one image of what the options let through; any thread may do it.

        Raises:
            OSError: nothing can be written there, on a full disk for instance; it names the file.
        """
        config = self._config
        kept = found.above(self._threshold)
        rows = kitti_rows(kept, self._categories, image.pixels.size)
        labels = self.labels_dir / image.label_file
        failed = _failure(labels, lambda: write_kitti(labels, rows))
        drawn = draw_detections(
            image.pixels,
            kept,
            self._categories,
            color_map=self._color_map,
            outline_width=config.outline_width,
        )
        is_frame = image.annotated is None
        if image.annotated is not None:
            copy = self.images_dir / image.annotated
            failed += _failure(copy, lambda: save_image(drawn, copy))
        names = tuple(row.name for row in rows)
        shown = drawn if is_frame else None
        return Labelled(image.name, image.pixels.size, kept, names, shown, failed)

    def count(self, done: Labelled | LeftOut) -> None:
        """Count an image that was written or does not decode, and log what failed.

        Raises:
            OSError: as write, for the files of all detections.
        """
        if isinstance(done, LeftOut):
            logger.warning("skipped file=%s reason=%s", done.path, done.reason)
            self._unreadable.append(done.path)
            return
        for path, reason in done.unwritten:
            logger.warning("%s", reason)
            self._unwritten.append(path)
        is_frame = done.drawn is not None
        if self._kept:
            self._kept[_FRAMES if is_frame else _IMAGES].add(done.name, done.size_wh, done.kept)
        self._per_class.update(done.names)
        self._images += not is_frame
        self._frames += is_frame

    def count_video(self) -> None:
        """Count a video of which all frames were added."""
        self._videos += 1

    def finish(self) -> InferenceSummary:
        """Write the files of all detections, and sum up what all processes did.

        Raises:
            DataError: not one image or frame was added, or no result of one could be written, by
                any process.
            OSError: a file cannot be written.
        """
        self._stack.close()  # what is kept must be in the files before another process reads them
        summary = InferenceSummary.joined(self._ranks.gather(self._own_summary()))
        if summary.unreadable and not summary.images and not summary.frames:
            count, first = len(summary.unreadable), summary.unreadable[0]
            raise DataError(
                f"not one image or video can be read, {count} were tried, first {first}"
            )
        results = 2 * summary.images + summary.frames
        if summary.unwritten and len(summary.unwritten) == results:
            raise DataError(
                f"not one of {results} results can be written, first {summary.unwritten[0]}"
            )
        if self._ranks.is_first:
            wanted = {"coco_json": self._config.coco_json, "csv_file": self._config.csv}
            write_detection_files(self._folder, self._read_kept, self._categories, **wanted)
            remove_rank_files(self._folder)
        return summary

    def _own_summary(self) -> InferenceSummary:
        return InferenceSummary(
            images=self._images,
            detections=self._per_class.total(),
            per_class=dict(self._per_class),
            labels_dir=self.labels_dir,
            images_dir=self.images_dir,
            unreadable=tuple(self._unreadable),
            unwritten=tuple(self._unwritten),
            videos=self._videos,
            frames=self._frames,
            videos_dir=self.videos_dir if self._videos else None,
        )

    def _read_kept(self) -> Iterator[Found]:
        """Give what all processes kept: images first, each kind in the order of the files."""
        for kind in self._kept:
            for index in range(self._ranks.count):
                yield from read_rank_file(self._folder, kind, index)


def _failure(path: Path, write: Callable[[], None]) -> tuple[tuple[Path, str], ...]:
    """Write a file of one image; gives the path and why it cannot be, if the disk takes others."""
    try:
        write()
    except UnwritableImageError as error:
        return ((path, str(error)),)
    except OSError as error:
        if not is_of_one_file(error):
            raise
        return ((path, f"{path} cannot be written: {error.strerror}"),)
    return ()


def kitti_rows(
    detections: Detections, categories: Sequence[Category], image_size_wh: tuple[int, int]
) -> list[KittiObject]:
    """Detections as KITTI objects with a score, boxes clipped to the image, best first."""
    names = ClassNames(categories)
    width, height = image_size_wh
    boxes = np.clip(detections.boxes_xyxy, 0, np.array([width, height, width, height]))
    return [
        KittiObject(name=names[label], box_xyxy=(box[0], box[1], box[2], box[3]), score=score)
        for box, label, score in zip(
            boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
        )
    ]
