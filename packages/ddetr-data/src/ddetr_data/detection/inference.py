"""Run any detector over image files and keep KITTI labels and annotated images of each."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ddetr_data.detection.rank_slice import ALONE, Share
from ddetr_data.files import naming
from ddetr_data.formats import KittiObject, label_names, write_kitti
from ddetr_data.images import class_colors, draw_detections, find_images, read_image
from ddetr_data.types import Category, Detections, Detector

__all__ = ["InferenceSummary", "counted", "find_images", "kitti_rows", "run_inference"]

logger = logging.getLogger(__name__)

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class InferenceSummary:
    """What a run over images found, and where it is."""

    images: int
    detections: int
    per_class: dict[str, int]
    labels_dir: Path
    images_dir: Path
    unreadable: tuple[Path, ...] = field(default=())  # images left out because they do not decode
    videos: int = 0
    frames: int = 0  # of videos
    videos_dir: Path | None = None

    @property
    def extent(self) -> str:
        """How much was labelled, in words: images, videos and their frames."""
        films = f"{counted(self.videos, 'video')} ({counted(self.frames, 'frame')})"
        if not self.images and self.videos:
            return films
        images = counted(self.images, "image")
        return f"{images}, {films}" if self.videos else images

    @staticmethod
    def joined(parts: Sequence[InferenceSummary]) -> InferenceSummary:
        """Add up the parts of several processes, in their order."""
        per_class = sum((Counter(part.per_class) for part in parts), Counter[str]())
        return replace(
            parts[0],
            images=sum(part.images for part in parts),
            detections=sum(part.detections for part in parts),
            per_class=dict(sorted(per_class.items())),
            unreadable=tuple(path for part in parts for path in part.unreadable),
            videos=sum(part.videos for part in parts),
            frames=sum(part.frames for part in parts),
            videos_dir=next((part.videos_dir for part in parts if part.videos_dir), None),
        )


def run_inference(
    detector: Detector,
    images: Sequence[tuple[Path, Path]],
    results_dir: str | os.PathLike[str],
    *,
    conf_threshold: float = 0.5,
    color_map: Mapping[str, str] | None = None,
    outline_width: int = 3,
    on_progress: Callable[[int, int], None] | None = None,
    on_image: Callable[[Path, tuple[int, int], Detections], None] | None = None,
    share: Share = ALONE,
) -> InferenceSummary:
    """Detect in each image and write `labels/<relative>.txt` and `images_annotated/<relative>`.

    Label files have 16 KITTI columns and boxes clipped to the image. The image's ending is replaced
    by .txt, or kept before it (a.jpg.txt, a.png.txt) where two images differ in their ending alone.
    One batch is in memory at a time. Images that do not decode are left out, logged and listed.

    Args:
        images: (path, relative path) as find_images gives them.
        on_progress: called with images done and images in all, after each batch.
        on_image: called with relative path, width and height, and what is kept, for each image.
        share: the images of this process, which the summary counts.

    Raises:
        ValueError: threshold outside 0..1, or a colour that is none; before any image is read.
    """
    if not 0 <= conf_threshold <= 1:
        raise ValueError(f"conf_threshold must be between 0 and 1, got {conf_threshold}")
    if outline_width < 1:
        raise ValueError(f"outline_width must be at least 1, got {outline_width}")
    class_colors(detector.categories, color_map)
    labels_dir, images_dir = Path(results_dir, "labels"), Path(results_dir, "images_annotated")
    label_files = label_names([relative for _, relative in images])
    per_class: Counter[str] = Counter()
    unreadable: list[Path] = []
    places = share.of(len(images), detector.batch_size)
    for start in places[:: detector.batch_size]:
        batch = images[start : min(start + detector.batch_size, places.stop)]
        for relative, image, found in _detect(detector, batch, unreadable):
            kept = found.above(conf_threshold)
            rows = kitti_rows(kept, detector.categories, image.size)
            per_class.update(row.name for row in rows)
            write_kitti(labels_dir / label_files[relative], rows)
            drawn = draw_detections(
                image, kept, detector.categories, color_map=color_map, outline_width=outline_width
            )
            _save(drawn, images_dir / relative)
            if on_image is not None:
                on_image(relative, image.size, kept)
        if on_progress is not None:
            on_progress(start + len(batch) - places.start, len(places))
    return InferenceSummary(
        images=len(places) - len(unreadable),
        detections=sum(per_class.values()),
        per_class=dict(sorted(per_class.items())),
        labels_dir=labels_dir,
        images_dir=images_dir,
        unreadable=tuple(unreadable),
    )


def counted(count: int, noun: str) -> str:
    """Write a number and what it counts: 1 image, 2 images."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def kitti_rows(
    detections: Detections, categories: Sequence[Category], image_size_wh: tuple[int, int]
) -> list[KittiObject]:
    """Detections as KITTI objects with a score, boxes clipped to the image, best first.

    A label outside the categories is written as class_<id>: it is shown, not lost.
    """
    names = {category.id: category.name for category in categories}
    width, height = image_size_wh
    boxes = np.clip(detections.boxes_xyxy, 0, np.array([width, height, width, height]))
    return [
        KittiObject(
            name=names.get(label, f"class_{label}"),
            box_xyxy=(box[0], box[1], box[2], box[3]),
            score=score,
        )
        for box, label, score in zip(
            boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
        )
    ]


def _detect(
    detector: Detector, batch: Sequence[tuple[Path, Path]], unreadable: list[Path]
) -> Iterator[tuple[Path, Image.Image, Detections]]:
    """Relative path, image and detections of each that decodes; others join `unreadable`."""
    loaded: list[tuple[Path, Image.Image]] = []
    for path, relative in batch:
        try:
            loaded.append((relative, read_image(path)))
        except (ValueError, OSError) as error:
            logger.warning("skipped image=%s reason=%s", path, error)
            unreadable.append(path)
    found = detector.predict([image for _, image in loaded]) if loaded else []
    for (relative, image), detections in zip(loaded, found, strict=True):
        yield relative, image, detections


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        image.save(path, quality=_JPEG_QUALITY)  # formats without a quality ignore it
