"""Reading an image file as 8-bit RGB, the way up that its EXIF data says."""

from __future__ import annotations

import contextlib
import os
import warnings
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from ddetr_data.faults import DataError
from ddetr_data.locations import RemoteFile, opened

QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PNG_SIGNATURE_BYTES = 8
_LFS_MAGIC = b"version https://git-lfs"
_START_BYTES = 64
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # where orientation may stand

AnyImageFile: TypeAlias = str | os.PathLike[str] | RemoteFile

# Pillow warns of odd EXIF data and of very large images; the rules for faulty images speak of what
# matters. One filter for good, behind the program's own: catch_warnings would change the filters of
# all threads, and leave them changed where two threads overlap.
warnings.filterwarnings("ignore", module=r"PIL\.", append=True)

_DECODING_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError)


def read_image(path: AnyImageFile) -> Image.Image:
    """Read any image that Pillow reads as RGB, turned as its EXIF data says.

    16-bit grey is brought to 8 bit by its range, transparent parts become white, and of an
    animation the first frame is taken.

    Raises:
        FileNotFoundError: the file is missing.
        DataError: it is no image, or cut off.
    """
    try:
        with Image.open(opened(path)) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise FileNotFoundError(f"the image {path} is missing") from None
    except _DECODING_ERRORS as error:
        raise DataError(_complaint(path, error)) from error


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself before its pixels."""

    stored_wh: tuple[int, int]  # pixels, as they lie in the file
    orientation: int  # EXIF, 1 (upright) to 8

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels after the turn that the EXIF data asks for."""
        turned = self.orientation in QUARTER_TURNS
        return self.stored_wh[::-1] if turned else self.stored_wh


def read_header(path: AnyImageFile) -> ImageHeader:
    """Read an image's header alone.

    Raises:
        FileNotFoundError: the file is missing.
        DataError: it is no image.
    """
    try:
        with Image.open(opened(path)) as image:
            return _header_of(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"the image {path} is missing") from None
    except _DECODING_ERRORS as error:
        raise DataError(_complaint(path, error)) from error


def read_image_size_wh(path: AnyImageFile) -> tuple[int, int]:
    """Read width and height from the header, after the turn; errors as in read_header."""
    return read_header(path).size_wh


def check_whole(path: AnyImageFile) -> ImageHeader:
    """Read the header, and see that read_image will not fail, as cheaply as the kind allows.

    PNG by its checksums, JPEG by decoding an eighth of its size; what fails there and other kinds
    by decoding.

    Raises:
        FileNotFoundError, DataError: as read_image.
    """
    with contextlib.suppress(*_DECODING_ERRORS), Image.open(opened(path)) as image:
        header = _header_of(image)
        if isinstance(image, PngImageFile):
            if image.fp is not None:  # else it was decoded for its header
                image.verify()
            return header
        if image.format == "JPEG":
            image.draft("L", (1, 1))
            image.load()
            return header
    read_image(path)
    return read_header(path)


def _header_of(image: Image.Image) -> ImageHeader:
    # Pillow decodes all of a PNG before it tells the EXIF data, since they may follow the pixels.
    exif = Image.Image.getexif(image) if _is_told_before_pixels(image) else image.getexif()
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    return ImageHeader(image.size, orientation if orientation in range(1, 9) else 1)


def _is_told_before_pixels(image: Image.Image) -> bool:
    if not isinstance(image, PngImageFile) or image.fp is None:
        return False
    return not _has_late_text(image.fp)


def _has_late_text(file: IO[bytes]) -> bool:
    """Whether a PNG has EXIF data or texts after its pixels; the file's place stays."""
    place, after_pixels = file.tell(), False
    file.seek(_PNG_SIGNATURE_BYTES)
    try:
        while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
            if after_pixels and start[4:] in _PNG_TEXTS:
                return True
            after_pixels |= start[4:] == b"IDAT"
            file.seek(int.from_bytes(start[:4], "big") + 4, os.SEEK_CUR)  # and the checksum
    finally:
        file.seek(place)
    return False


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data says; one without a turn comes back as it is."""
    is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if is_turned else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring any Pillow mode to 8-bit RGB; what is already RGB comes back as it is."""
    if image.mode == "RGB":
        return image
    if image.mode in _WIDE_MODES:
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")


def _to_8_bit(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale by the range that the values show: 0..1 floats, 8 bit in wide pixels, or 16 bit."""
    values = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = values.max(initial=0.0)
    if np.issubdtype(grey.dtype, np.floating) and largest <= 1.0:
        full_range = 1.0
    else:
        full_range = 255.0 if largest <= 255.0 else max(65535.0, float(largest))
    return np.round(values.clip(0.0) * (255.0 / full_range)).astype(np.uint8)


def _complaint(path: AnyImageFile, error: Exception) -> str:
    if not isinstance(path, RemoteFile) and os.path.isdir(path):
        return f"the image {path} must be a file, it is a folder"
    if _is_empty(path):
        return f"the image {path} is empty"
    if isinstance(error, PermissionError):
        return f"the image {path} may not be read: permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"the image {path} is too large, raise PIL.Image.MAX_IMAGE_PIXELS: {error}"
    if isinstance(error, UnidentifiedImageError):
        return f"the image {path} cannot be read, {_likeness(_start_of(path))}"
    return f"the image {path} cannot be read, it is damaged ({error})"


def _likeness(start: bytes) -> str:
    """What a file that is no image seems to be."""
    if start.startswith(_LFS_MAGIC):
        return "it is a Git LFS pointer: fetch the file itself with `git lfs pull`"
    if start.lstrip().startswith(b"<"):
        return "it is a web page, XML or SVG"
    return "it is no image of a known kind"


def _start_of(path: AnyImageFile) -> bytes:
    if isinstance(path, RemoteFile):
        return (path.content or b"")[:_START_BYTES]
    try:
        with open(path, "rb") as file:
            return file.read(_START_BYTES)
    except OSError:
        return b""


def _is_empty(path: AnyImageFile) -> bool:
    if isinstance(path, RemoteFile):
        return path.content == b""
    try:
        return os.path.isfile(path) and os.path.getsize(path) == 0
    except OSError:
        return False
