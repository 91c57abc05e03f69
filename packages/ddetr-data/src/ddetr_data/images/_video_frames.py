"""Reading a video: its frames the way up that the file says, and when each is shown.

Needs PyAV (extra [video]).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ddetr_data.faults import DataError

logger = logging.getLogger(__name__)

_TURN = "DISPLAYMATRIX"  # what FFmpeg calls a camera's note on how it was held
# Signs of a, b, c, d of that matrix; a pixel (x, y) is shown at (a x + c y, b x + d y).
_TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class Frame:
    """One image of a video."""

    image: Image.Image
    shown_at: int | None  # in units of the stream's time base; None where the file does not say


def read_frames(source: Any, path: Path) -> Iterator[Frame]:
    """Yield the frames of an open container's first video.

    Damaged parts are left out and logged.

    Raises:
        DataError: there is no video, or no frame of it decodes.
    """
    if not source.streams.video:
        raise DataError(f"{path} has no video in it")
    done = 0
    damages: list[str] = []
    for decoded in _decoded(source, source.streams.video[0], damages):
        try:
            frame = Frame(_upright(decoded), decoded.pts)
        except Exception as error:  # the block is the decoder's alone
            damages.append(str(error))
            continue
        yield frame
        done += 1
    if not done:
        reason = f" ({damages[0]})" if damages else ""
        raise DataError(f"{path} has no frame that decodes{reason}")
    if damages:
        logger.warning(
            "video=%s has %d damaged parts, which are left out: %s",
            path,
            len(damages),
            damages[0],
        )


def _decoded(source: Any, stream: Any, damages: list[str]) -> Iterator[Any]:
    """Decode packet by packet, as players do: what follows a damaged one is still shown."""
    import av

    packets = source.demux(stream)
    is_over = False
    while not is_over:
        try:
            packet = next(packets, None)  # ends after an error of the file itself
            is_over = packet is None
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:  # the decoder was emptied with the last packet
            continue
        except Exception as error:  # FFmpeg's, or any other that damage leads to
            damages.append(str(getattr(error, "strerror", None) or error))
            continue
        yield from frames


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    for index in range(len(frame.side_data)):
        data = frame.side_data[index]
        if data.type.name == _TURN:
            matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]
            turn = _TURNS.get(tuple(np.sign(matrix).ravel().tolist()))
            return image if turn is None else image.transpose(turn)
    return image
