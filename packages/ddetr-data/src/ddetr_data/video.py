"""Run a detector over videos: KITTI labels of every frame, and the video with boxes drawn in.

Needs PyAV (extra [video]). One batch of frames is in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from ddetr_data.faults import DataError

__all__ = ["VIDEO_EXTENSIONS", "can_read_videos", "find_videos", "label_video"]

VIDEO_EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg"})
_FRAMES_A_SECOND = 25  # where a file does not say

Draw = Callable[[Sequence[Image.Image], int], list[Image.Image]]  # frames, number of the first


def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def find_videos(entries: Sequence[str | os.PathLike[str]]) -> list[tuple[Path, Path]]:
    """All videos of folders (with sub-folders) and files, as (path, relative path), sorted."""
    found: set[tuple[Path, Path]] = set()
    for entry in map(Path, entries):
        if entry.is_dir():
            found |= {(path, path.relative_to(entry)) for path in _videos_below(entry)}
        elif is_video(entry):
            found.add((entry, Path(entry.name)))
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def is_video(path: Path) -> bool:
    """Whether the ending is a video's."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def label_video(path: Path, target: Path, batch_size: int, draw: Draw) -> int:
    """Read a video, hand its frames over in batches, and write what comes back as H.264 in MP4.

    Args:
        target: the file to write; it appears when it is whole.
        draw: gives the frames to write, of the same sizes.

    Returns:
        The number of frames.

    Raises:
        DataError: PyAV is not installed, or the file is no video that it can read.
    """
    if not can_read_videos():
        raise DataError(f"{path} is a video: install ddetr-data[video] to read it")
    import av

    try:
        with av.open(os.fspath(path)) as source:
            if not source.streams.video:
                raise DataError(f"{path} has no video in it")
            return _copy(source, target, batch_size, draw)
    except av.error.FFmpegError as error:
        raise DataError(f"{path} does not decode as a video: {error}") from error


def _copy(source: Any, target: Path, batch_size: int, draw: Draw) -> int:
    stream = source.streams.video[0]
    frames = (frame.to_image() for frame in source.decode(stream))
    done = 0
    with _writing(target, stream.average_rate or _FRAMES_A_SECOND) as write:
        while batch := list(islice(frames, batch_size)):
            for image in draw(batch, done):
                write(image)
            done += len(batch)
    return done


@contextmanager
def _writing(target: Path, rate: Any) -> Iterator[Callable[[Image.Image], None]]:
    """Encode images of one size into a file beside the target, which it becomes at the end."""
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with av.open(os.fspath(part), "w", format="mp4") as container:
            stream: Any = container.add_stream("libx264", rate=rate)
            stream.pix_fmt = "yuv420p"
            frame: Any = av.VideoFrame

            def write(image: Image.Image) -> None:
                width, height = (side - side % 2 for side in image.size)  # the format's colours
                if not stream.codec_context.is_open:
                    stream.width, stream.height = width, height
                container.mux(stream.encode(frame.from_image(image.crop((0, 0, width, height)))))

            yield write
            if stream.codec_context.is_open:
                container.mux(stream.encode(None))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _videos_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(parent, name)
            for name in files
            if not name.startswith(".") and is_video(Path(name))
        )
