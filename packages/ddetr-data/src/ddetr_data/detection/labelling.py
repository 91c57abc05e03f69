"""Everything that a folder, a file or a list of them holds, labelled: images and videos."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from PIL import Image

from ddetr_data.detection._detection_files import DetectionFiles
from ddetr_data.detection._rank_files import Spool, spools_of_failures_removed
from ddetr_data.detection.inference import InferenceSummary, kitti_rows, run_inference
from ddetr_data.detection.rank_slice import ALONE, Share
from ddetr_data.faults import DataError
from ddetr_data.formats import write_kitti
from ddetr_data.images import (
    OnFrames,
    can_read_videos,
    draw_detections,
    find_images,
    find_videos,
    is_video,
    label_video,
)
from ddetr_data.types import Detections, Detector

__all__ = ["LabelOptions", "find_media", "label_media"]

logger = logging.getLogger(__name__)

Found = list[tuple[Path, Path]]  # path, relative path
Keep = Callable[[str, tuple[int, int], Detections], None]  # name, width and height
OnVideo = Callable[[str, int, int | None], None]  # name, frames done, frames in all if known


@dataclass(frozen=True)
class _Video:
    path: Path
    relative: Path  # of its labels' folder
    annotated: Path  # of what is made of it


@dataclass(frozen=True)
class LabelOptions:
    """What is kept of the detections, and how."""

    conf_threshold: float = 0.5
    color_map: Mapping[str, str] = field(default_factory=dict)
    outline_width: int = 3
    coco_json: bool = False
    csv_file: bool = False


def find_media(
    entries: Sequence[str | os.PathLike[str]], *, by_own_folder: bool = False
) -> tuple[Found, Found]:
    """Find images, and videos if PyAV is there; without it a folder's videos are logged.

    Args:
        entries: folders (searched with their sub-folders) and files.
        by_own_folder: give <folder of the file>/<file> as relative paths; files that would share
            one keep theirs.

    Raises:
        FileNotFoundError: an entry does not exist, or there is neither image nor video.
        DataError: a video is named itself, but PyAV is not installed.
    """
    videos = find_videos(entries)
    others = [entry for entry in entries if not (is_video(Path(entry)) and Path(entry).is_file())]
    if videos and not can_read_videos():
        if len(others) < len(entries):
            raise DataError(f"{videos[0][0]} is a video: install ddetr-data[video] to read it")
        logger.warning("videos=%d are left out: install ddetr-data[video]", len(videos))
        videos = []
    try:
        images = find_images(others) if others or not videos else []
    except FileNotFoundError:
        if not videos or not all(Path(entry).exists() for entry in entries):
            raise
        images = []
    if by_own_folder:
        images, videos = _in_own_folder(images), _in_own_folder(videos)
    return images, videos


def label_media(
    detector: Detector,
    images: Found,
    videos: Found,
    results_dir: str | os.PathLike[str],
    options: LabelOptions,
    on_progress: Callable[[int, int], None] | None = None,
    share: Share = ALONE,
    on_video: OnVideo | None = None,
) -> InferenceSummary:
    """Label images as run_inference does, and every frame of videos.

    A video gets `labels/<video>/<frame>.txt` and `videos_annotated/<video>`. With coco_json and
    csv_file all detections are in one file too; the frame 7 of a video is <video>#7 there.
    Several processes each label a share; the first one joins their detections in the files' order.

    Args:
        on_progress: as run_inference's, of the images.
        on_video: called before the first batch of a video's frames and after each.

    Raises:
        ValueError: as run_inference.
        DataError: not one of the files decodes.
    """
    folder = Path(results_dir)
    films = _named(videos)
    files = DetectionFiles(
        folder, detector.categories, coco_json=options.coco_json, csv_file=options.csv_file
    )
    if share.count == 1:
        with files:
            summary = _label_images(detector, images, folder, options, on_progress, files.add)
            summary = _label_videos(summary, films, detector, options, files.add, on_video)
            return _something(summary)
    with spools_of_failures_removed(folder):
        with Spool(folder, "images", share.index) as spool:
            summary = _label_images(
                detector, images, folder, options, on_progress, spool.add, share=share
            )
        with Spool(folder, "videos", share.index) as spool:
            mine = [films[place] for place in share.of(len(films))]
            summary = _label_videos(summary, mine, detector, options, spool.add, on_video)
        joined = _something(InferenceSummary.joined(share.gather(summary)))
        if share.is_first:
            with files:
                _join_spools(folder, share.count, files.add)
    return joined


def _join_spools(folder: Path, count: int, keep: Keep) -> None:
    for kind in ("images", "videos"):
        for index in range(count):
            Spool(folder, kind, index).empty_into(keep)


def _something(summary: InferenceSummary) -> InferenceSummary:
    """Pass what labelled at least one image or frame."""
    if summary.unreadable and not summary.images and not summary.frames:
        count, first = len(summary.unreadable), summary.unreadable[0]
        raise DataError(f"not one image or video can be read, {count} were tried, first {first}")
    return summary


def _named(videos: Found) -> list[_Video]:
    """Choose the annotated videos' names: MP4s keep theirs, others get .mp4 behind it.

    All get it where two would have one name (a.avi and a.avi.mp4).
    """
    behind = [relative.with_name(f"{relative.name}.mp4") for _, relative in videos]
    short = [
        relative if relative.suffix.lower() == ".mp4" else name
        for (_, relative), name in zip(videos, behind, strict=True)
    ]
    names = short if len(set(short)) == len(short) else behind
    return [_Video(*found, name) for found, name in zip(videos, names, strict=True)]


def _label_images(
    detector: Detector,
    images: Found,
    folder: Path,
    options: LabelOptions,
    on_progress: Callable[[int, int], None] | None,
    keep: Keep,
    share: Share = ALONE,
) -> InferenceSummary:
    return run_inference(
        detector,
        images,
        folder,
        conf_threshold=options.conf_threshold,
        color_map=options.color_map,
        outline_width=options.outline_width,
        on_progress=on_progress,
        on_image=lambda relative, size_wh, found: keep(relative.as_posix(), size_wh, found),
        share=share,
    )


def _label_videos(
    summary: InferenceSummary,
    videos: Sequence[_Video],
    detector: Detector,
    options: LabelOptions,
    keep: Keep,
    on_video: OnVideo | None,
) -> InferenceSummary:
    for video in videos:
        name = video.relative.as_posix()
        tell = None if on_video is None else partial(on_video, name)
        summary = _with_video(summary, video, detector, options, keep, tell)
    return summary


def _in_own_folder(found: Found) -> Found:
    names = [Path(path.parent.name, path.name) for path, _ in found]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return [
        (path, relative if name in shared else name)
        for (path, relative), name in zip(found, names, strict=True)
    ]


def _with_video(
    summary: InferenceSummary,
    video: _Video,
    detector: Detector,
    options: LabelOptions,
    keep: Keep,
    on_frames: OnFrames | None,
) -> InferenceSummary:
    """Label a video and add it up; one that does not decode joins the unreadable."""
    per_class = Counter(summary.per_class)

    def draw(frames: Sequence[Image.Image], first: int) -> list[Image.Image]:
        drawn = []
        for number, (frame, found) in enumerate(
            zip(frames, detector.predict(frames), strict=True), start=first
        ):
            kept = found.above(options.conf_threshold)
            rows = kitti_rows(kept, detector.categories, frame.size)
            per_class.update(row.name for row in rows)
            write_kitti(summary.labels_dir / video.relative / f"{number:06d}.txt", rows)
            keep(f"{video.relative.as_posix()}#{number}", frame.size, kept)
            drawn.append(
                draw_detections(
                    frame,
                    kept,
                    detector.categories,
                    color_map=options.color_map,
                    outline_width=options.outline_width,
                )
            )
        return drawn

    videos_dir = summary.images_dir.with_name("videos_annotated")
    try:
        target = videos_dir / video.annotated
        frames = label_video(video.path, target, detector.batch_size, draw, on_frames)
    except DataError as error:
        logger.warning("skipped video=%s reason=%s", video.path, error)
        return replace(summary, unreadable=(*summary.unreadable, video.path))
    return replace(
        summary,
        detections=sum(per_class.values()),
        per_class=dict(sorted(per_class.items())),
        videos=summary.videos + 1,
        frames=summary.frames + frames,
        videos_dir=videos_dir,
    )
