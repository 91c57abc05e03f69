"""Writing an image in the format of its name's ending; the file appears when it is complete."""

from __future__ import annotations

import errno
import io
import os
from typing import Any

from PIL import Image

from ddetr_data.faults import DataError
from ddetr_data.files import write_whole
from ddetr_data.images.kinds import ending_of, format_of_ending, image_formats

_QUALITY = 92  # of 100
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": _QUALITY},
    "WEBP": {"quality": _QUALITY},
    "AVIF": {"quality": _QUALITY},
    # Else the compression of the file that was read, which may not know colours (fax).
    "TIFF": {"compression": "tiff_lzw"},
}
_ONE_FRAME = {"MPO": "JPEG"}
# What is wrong with one file, while the disk takes others.
_OF_ONE_FILE = frozenset(
    {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EILSEQ, errno.EINVAL, errno.ELOOP}
    | {errno.EACCES, errno.EPERM, errno.ETXTBSY, errno.ENOTEMPTY}
)


class UnwritableImageError(DataError):
    """One image cannot be written, though others can."""


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image in the format of its ending, making its folder.

    Raises:
        UnwritableImageError: the format takes no such image, or this one file cannot be written,
            for its name or its rights.
        OSError: nothing can be written there, on a full disk for instance; it names the file.
    """
    name = format_of_ending(ending_of(path)) or ""
    name = _ONE_FRAME.get(name, name)
    if name not in image_formats():
        raise UnwritableImageError(f"{path} must have the ending of a kind of images")
    encoded = io.BytesIO()
    try:
        image.save(encoded, name, **_OPTIONS.get(name, {}))
    except Exception as error:  # the block is Pillow's alone; each encoder has errors of its own
        raise UnwritableImageError(f"{path} cannot be written as {name}: {error}") from error
    try:
        write_whole(path, encoded.getvalue(), sync=False)
    except OSError as error:
        if not is_of_one_file(error):
            raise
        raise UnwritableImageError(f"{path} cannot be written: {error.strerror}") from error


def is_of_one_file(error: OSError) -> bool:
    """Whether one file cannot be written, for its name or its rights, though others can."""
    return error.errno in _OF_ONE_FILE
