"""The error text for an image that cannot be read."""

from __future__ import annotations

import os
from typing import TypeAlias

from PIL import Image, UnidentifiedImageError

from ddetr_data.locations import RemoteFile

# A file of this machine, one behind a URL, or what such a file holds.
AnyImageFile: TypeAlias = str | os.PathLike[str] | RemoteFile | bytes

_LFS_MAGIC = b"version https://git-lfs"
_START_BYTES = 64
_OTHER_KINDS = (
    (b"%!PS", 0, "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", 0, "PostScript (EPS)"),
    (b"%PDF", 0, "a PDF"),
    (b"ftyphei", 4, "a HEIC image"),
    (b"ftyphev", 4, "a HEIC image"),
    (b"ftypmif1", 4, "a HEIF image"),
    (b"8BPS", 0, "a Photoshop file"),
)


def named(source: AnyImageFile) -> str:
    """What errors call an image."""
    return "the image" if isinstance(source, bytes) else f"the image {source}"


def complaint(source: AnyImageFile, error: Exception) -> str:
    """Say in one sentence which image it is and why it cannot be read."""
    name, start = named(source), _start_of(source)
    if start == b"":
        return f"{name} is empty"
    if isinstance(error, PermissionError):
        return f"{name} may not be read: permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"{name} is too large, raise PIL.Image.MAX_IMAGE_PIXELS: {error}"
    if isinstance(error, UnidentifiedImageError):
        return f"{name} cannot be read, {_likeness(start)}"
    return f"{name} cannot be read, it is damaged ({str(error) or type(error).__name__})"


def _likeness(start: bytes | None) -> str:
    """What kind of file it is instead of an image, by its first bytes."""
    start = start or b""
    if start.startswith(_LFS_MAGIC):
        return "it is a Git LFS pointer: fetch the file itself with `git lfs pull`"
    if start.lstrip().startswith(b"<"):
        return "it is a web page, XML or SVG"
    for magic, offset, name in _OTHER_KINDS:
        if start[offset:].startswith(magic):
            return f"it is {name}, which is not taken: convert it to PNG or JPEG"
    return "it is no image of a known kind"


def _start_of(source: AnyImageFile) -> bytes | None:
    """The first bytes, none of an empty file; None where they cannot be told."""
    if isinstance(source, RemoteFile):
        return None if source.content is None else source.content[:_START_BYTES]
    if isinstance(source, bytes):
        return source[:_START_BYTES]
    try:
        with open(source, "rb") as file:
            return file.read(_START_BYTES)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
