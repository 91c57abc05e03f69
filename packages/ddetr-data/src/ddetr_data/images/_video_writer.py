"""Writing a video: H.264 in MP4, under its name when it is whole.

Needs PyAV (extra [video]).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from ddetr_data.files import replacing
from ddetr_data.images._video_frames import Frame


@contextmanager
def writing(target: Path, rate: Fraction, time_base: Fraction) -> Iterator[Callable[[Frame], None]]:
    """Give what writes a frame; all are brought to the first one's size, less odd last pixels.

    Args:
        target: written as a draft beside it, which is renamed at the end.
        rate: frames a second, for those that do not say when they are shown.
        time_base: seconds, the unit of the frames' times.

    Raises:
        OSError: the target cannot be written; what was there before still is.
    """
    import av

    times = _Times(max(1, round(1 / (rate * time_base))))
    with replacing(target) as draft, av.open(os.fspath(draft), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        video_frame: Any = av.VideoFrame
        stream.codec_context.time_base = time_base

        def write(frame: Frame) -> None:
            made = _even(frame.image)
            if not stream.codec_context.is_open:
                stream.width, stream.height = made.size
            encoded = video_frame.from_image(made)
            encoded.time_base, encoded.pts = time_base, times.next(frame.shown_at)
            container.mux(stream.encode(encoded))

        yield write
        container.mux(stream.encode(None))


class _Times:
    """When frames are shown: from 0 on and always later, whatever their file says."""

    def __init__(self, step: int) -> None:
        self._step = step  # to a frame without a time
        self._begin: int | None = None
        self._last = -step

    def next(self, shown_at: int | None) -> int:
        time = self._last + self._step
        if shown_at is not None:
            self._begin = shown_at - max(time, 0) if self._begin is None else self._begin
            time = max(shown_at - self._begin, self._last + 1)
        self._last = time
        return time


def _even(image: Image.Image) -> Image.Image:
    """Leave out the last column and row of odd sides: the format's colours are of 2 x 2 pixels."""
    width, height = (max(2, side - side % 2) for side in image.size)
    return image.crop((0, 0, width, height))
