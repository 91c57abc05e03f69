"""Find videos, read their frames, and write them again with other pixels.

Needs PyAV (extra [video]).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from ddetr_data.extras import InstallHint, MissingExtraError
from ddetr_data.faults import DataError
from ddetr_data.files import check_regular
from ddetr_data.images._video_frames import Frame as Frame
from ddetr_data.images._video_frames import read_frames
from ddetr_data.images._video_writer import writing
from ddetr_data.images.folder import named_below, walk_files

VIDEO_EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg"})
_FRAMES_A_SECOND = 25  # where a file does not say
_DURATIONS_A_SECOND = 1_000_000  # PyAV's unit of a container's length


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


@dataclass(frozen=True)
class Video:
    """An open video: its frames, the way up that the file says, and what it says of them."""

    frames: Iterator[Frame]
    stated_frames: int | None  # as the file states, or as its length and pace make
    rate: Fraction  # frames a second, for those that do not say when they are shown
    time_base: Fraction  # seconds, the unit of the frames' times

    def copied_to(self, target: Path) -> AbstractContextManager[Callable[[Frame], None]]:
        """Give what writes a frame to an H.264 in MP4; frames keep their times.

        The target appears when it is whole.

        Raises:
            OSError: the target cannot be written.
        """
        return writing(target, self.rate, self.time_base)


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video of which at least one frame decodes.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: the file is no video that it can read.
    """
    if not can_read_videos():
        raise MissingExtraError(f"{path} is a video", InstallHint("video"), " to read it")
    import av

    check_regular(path, "the video")
    try:
        source = av.open(os.fspath(path))
    except Exception as error:  # FFmpeg's, or any other that damage leads to
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} does not decode as a video: {reason}") from error
    with source:
        frames = read_frames(source, path)
        first = next(frames)
        stream: Any = source.streams.video[0]
        yield Video(
            frames=chain([first], frames),
            stated_frames=_stated_frames(source),
            rate=Fraction(stream.average_rate or _FRAMES_A_SECOND),
            time_base=Fraction(stream.time_base),
        )


def _stated_frames(source: Any) -> int | None:
    """Count the frames from the header alone: containers like Matroska state just the length."""
    stream = source.streams.video[0]
    if stream.frames or not (source.duration and stream.average_rate):
        return int(stream.frames) or None
    return round(source.duration * stream.average_rate / _DURATIONS_A_SECOND) or None
