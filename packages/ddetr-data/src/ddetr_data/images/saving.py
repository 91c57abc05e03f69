"""Writing an image in the format of its name's ending; the file appears when it is complete."""

from __future__ import annotations

import base64
import errno
import io
import os
import sys
from typing import Any, BinaryIO

from PIL import Image

from ddetr_data.faults import DataError
from ddetr_data.files import write_whole
from ddetr_data.images.kinds import ending_of, format_of_ending, image_formats

_QUALITY = 92  # of 100
_QUALITY_IN_PAGES = 80
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
    with _file_in_memory() as file:
        try:
            image.save(file, name, **_OPTIONS.get(name, {}))
        except Exception as error:  # the call is Pillow's alone; each encoder has its own errors
            raise UnwritableImageError(f"{path} cannot be written as {name}: {error}") from error
        file.seek(0)
        encoded = file.read()
    try:
        write_whole(path, encoded, sync=False)
    except OSError as error:
        if not is_of_one_file(error):
            raise
        raise UnwritableImageError(f"{path} cannot be written: {error.strerror}") from error


def jpeg_address(image: Image.Image) -> str:
    """Give an RGB image as the data: address of a JPEG, for a page that is one file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY_IN_PAGES)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _file_in_memory() -> BinaryIO:
    """A file that has a descriptor, if possible: Pillow then encodes JPEG outside Python's lock.

    It does not notice that the end of such a file has no room, as under a limit on sizes.
    """
    if sys.platform == "linux":
        from resource import RLIM_INFINITY, RLIMIT_FSIZE, getrlimit

        if getrlimit(RLIMIT_FSIZE)[0] == RLIM_INFINITY:
            return open(os.memfd_create("image"), "w+b")
    return io.BytesIO()


def is_of_one_file(error: OSError) -> bool:
    """Whether one file cannot be written, for its name or its rights, though others can."""
    return error.errno in _OF_ONE_FILE
