"""The kinds of images that are taken, by their endings and by Pillow's decoders: one list for all.

Folders are searched for these endings, and these decoders alone open a file, whatever its name
says: no image is read by one part of the toolkit and passed over by another, and no file makes
Pillow start Ghostscript (EPS), render a PDF or WMF, or try a decoder that nobody looks after.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module

# Pillow's name of a format -> its module, and the endings of its files, the usual one first.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "JPEG": ("Jpeg", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "MPO": ("Mpo", (".mpo",)),  # several JPEGs, as some cameras write; the first one is read
    "PNG": ("Png", (".png", ".apng")),
    "BMP": ("Bmp", (".bmp",)),
    "GIF": ("Gif", (".gif",)),
    "PPM": ("Ppm", (".ppm", ".pgm", ".pbm", ".pnm")),
    "TIFF": ("Tiff", (".tif", ".tiff")),
    "WEBP": ("WebP", (".webp",)),
    "AVIF": ("Avif", (".avif", ".avifs")),
    "JPEG2000": ("Jpeg2K", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")),
    "TGA": ("Tga", (".tga",)),
}
_FORMAT_OF_ENDING = {ending: name for name, (_, endings) in _KINDS.items() for ending in endings}

IMAGE_ENDINGS = frozenset(_FORMAT_OF_ENDING)  # lower case; names are matched ignoring case

# What people take for images and find in folders of images; told, not read.
OTHER_IMAGE_ENDINGS = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".svg", ".eps", ".psd", ".ico", ".dib", ".pcx", ".dds"}
    | {".exr", ".hdr", ".pfm", ".wmf", ".emf", ".xcf", ".qoi", ".dcm", ".fits"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}  # raw files of cameras
)


def ending_of(name: str | os.PathLike[str]) -> str:
    """The ending of a file's name, with its dot, in lower case."""
    return os.path.splitext(name)[1].lower()


def copy_ending(name: str | os.PathLike[str]) -> str:
    """The ending of an image's copy, which is a JPEG of what is one by its name, else a PNG.

    Any image of 8 bits can be written as either; what has such an ending keeps it as it is.
    """
    kind = format_of_ending(ending_of(name))
    if kind in ("JPEG", "PNG"):
        return os.path.splitext(name)[1]
    return ".jpg" if kind == "MPO" else ".png"


def has_image_ending(name: str | os.PathLike[str]) -> bool:
    """Whether a file is an image by its name."""
    return ending_of(name) in IMAGE_ENDINGS


def format_of_ending(ending: str) -> str | None:
    """Pillow's name of the format that an ending of IMAGE_ENDINGS stands for."""
    return _FORMAT_OF_ENDING.get(ending.lower())


@lru_cache(1)
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that may be opened; loads their modules and no others."""
    from PIL import Image

    for module, _ in _KINDS.values():
        import_module(f"PIL.{module}ImagePlugin")
    return tuple(name for name in _KINDS if name in Image.OPEN)
