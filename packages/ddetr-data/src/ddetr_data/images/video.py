"""Run a detector over videos: KITTI labels of every frame, and the video with boxes drawn in.

Needs PyAV (extra [video]). One batch of frames is in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image

from ddetr_data.faults import DataError
from ddetr_data.images._video_frames import Frame, read_frames
from ddetr_data.images._video_writer import writing
from ddetr_data.images.folder import named_below, walk_files

__all__ = ["VIDEO_EXTENSIONS", "can_read_videos", "find_videos", "label_video"]

VIDEO_EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg"})
_FRAMES_A_SECOND = 25  # where a file does not say
_DURATIONS_A_SECOND = 1_000_000  # PyAV's unit of a container's length

Draw = Callable[[Sequence[Image.Image], int], list[Image.Image]]  # frames, number of the first
OnFrames = Callable[[int, int | None], None]  # frames done, frames in all where it is known


def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def find_videos(entries: Sequence[str | os.PathLike[str]]) -> list[tuple[Path, Path]]:
    """All videos of folders (with sub-folders) and files, as (path, relative path), sorted.

    Relative paths are unique, as those of find_images.
    """
    paths = [Path(os.path.abspath(entry)) for entry in entries]
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(walk_files(path, VIDEO_EXTENSIONS))
        elif is_video(path):
            found.add(path)
    return named_below(found, paths)


def is_video(path: Path) -> bool:
    """Whether the ending is a video's."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def label_video(
    path: Path, target: Path, batch_size: int, draw: Draw, on_frames: OnFrames | None = None
) -> int:
    """Read a video, hand its frames over in batches, and write what comes back as H.264 in MP4.

    Frames keep their times, and are turned as the file says.

    Args:
        target: the file to write; it appears when it is whole.
        draw: gives the frames to write, of the same sizes.
        on_frames: called before the first batch and after each; the frames in all are those that
            the file states, or that its length and pace make.

    Returns:
        The number of frames.

    Raises:
        DataError: PyAV is not installed, or the file is no video that it can read.
        OSError: the target cannot be written.
    """
    if not can_read_videos():
        raise DataError(f"{path} is a video: install ddetr-data[video] to read it")
    import av

    try:
        source = av.open(os.fspath(path))
    except av.error.FFmpegError as error:
        raise DataError(f"{path} does not decode as a video: {error.strerror}") from error
    with source:
        frames = read_frames(source, path)
        first = next(frames)  # before anything is written
        every = chain([first], frames)
        if on_frames is not None:
            draw = _told(draw, on_frames, _stated_frames(source))
        return _copy(every, source.streams.video[0], target, batch_size, draw)


def _told(draw: Draw, on_frames: OnFrames, total: int | None) -> Draw:
    def drawn(frames: Sequence[Image.Image], first: int) -> list[Image.Image]:
        made = draw(frames, first)
        done = first + len(frames)
        on_frames(done, None if total is None else max(total, done))
        return made

    on_frames(0, total)
    return drawn


def _stated_frames(source: Any) -> int | None:
    """Count the frames from the header alone: containers like Matroska state just the length."""
    stream = source.streams.video[0]
    if stream.frames or not (source.duration and stream.average_rate):
        return int(stream.frames) or None
    return round(source.duration * stream.average_rate / _DURATIONS_A_SECOND) or None


def _copy(frames: Iterator[Frame], stream: Any, target: Path, batch_size: int, draw: Draw) -> int:
    rate = Fraction(stream.average_rate or _FRAMES_A_SECOND)
    done = 0
    with writing(target, rate, Fraction(stream.time_base)) as write:
        while batch := list(islice(frames, batch_size)):
            for image, frame in zip(draw([each.image for each in batch], done), batch, strict=True):
                write(replace(frame, image=image))
            done += len(batch)
    return done
