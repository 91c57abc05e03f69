"""Reading an image file as 8-bit RGB, the way up that its EXIF data says."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ddetr_data.faults import DataError
from ddetr_data.images._complaints import AnyImageFile, complaint, named
from ddetr_data.images._jpeg_scans import has_more_scans
from ddetr_data.images.kinds import image_formats
from ddetr_data.locations import RemoteFile

QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP_PIXELS = ";16"  # in Pillow's name for how a file stores pixels that it opens as 8 bit
_STRIP_PIXELS = 2**20  # that are converted at a time
_PNG_SIGNATURE_BYTES = 8
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # where orientation may stand

# Errors of this process, which has too many files open: the image is not to blame.
_OUR_OWN = (errno.EMFILE, errno.ENFILE)


def read_image(
    source: AnyImageFile,
    *,
    most_pixels: int | None = None,
    most_side: int | None = None,
    most_scans: int | None = None,
) -> Image.Image:
    """Read an image of a known kind as RGB, turned as its EXIF data says.

    16-bit grey is brought to 8 bit by its range, transparent parts become white, and of an
    animation the first frame is taken.

    Args:
        source: where it lies, or what the file holds.
        most_pixels: width times height that is still decoded; absent, Pillow's own limit.
        most_side: width or height that is still decoded. A row costs memory of its own, however
            short it is.
        most_scans: passes over the pixels of a JPEG that are still decoded. Each takes time.

    Raises:
        FileNotFoundError: the file is missing.
        DataError: it is no image of such a kind, damaged, or has too many pixels or scans.
    """
    with _decoding(source) as image:
        width, height = image.size
        excess = None
        if most_pixels is not None and width * height > most_pixels:
            excess = f"{width} x {height} pixels, at most {most_pixels} are taken"
        elif most_side is not None and max(width, height) > most_side:
            excess = f"{width} x {height} pixels, at most {most_side} on a side are taken"
        elif most_scans is not None and _has_more_scans(image, most_scans):
            excess = f"a JPEG of more than {most_scans} scans, which takes too long to decode"
        else:
            image.load()
            whole = upright(image)
    if excess:
        raise DataError(f"{named(source)} is {excess}")
    return to_rgb(whole)


def _has_more_scans(image: Image.Image, most: int) -> bool:
    file = image.fp if isinstance(image, JpegImageFile) else None  # an MPO is one too
    return file is not None and has_more_scans(file, most)


@contextmanager
def _decoding(source: AnyImageFile) -> Iterator[Image.Image]:
    """Give an image that Pillow has opened, for work that is the decoder's alone.

    Whatever a decoder raises at what a file holds makes it an image that cannot be read: those of
    damaged files are of any kind, RuntimeError, struct.error and MemoryError among them.

    Raises:
        FileNotFoundError, DataError: as read_image.
        OSError: this process has too many files open.
    """
    try:
        _refuse_other_files(source)
        with Image.open(_openable(source), formats=image_formats()) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{named(source)} is missing") from None
    except DataError:  # of a URL; it names that
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OUR_OWN:
            raise
        raise DataError(complaint(source, error)) from error


def _refuse_other_files(source: AnyImageFile) -> None:
    """Refuse what would never end or has no bytes: pipes, devices and folders."""
    if isinstance(source, (bytes, RemoteFile)):
        return
    mode = os.stat(source).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise DataError(f"the image {os.fspath(source)} must be a file, it is {what}")


def _openable(source: AnyImageFile) -> str | os.PathLike[str] | io.BytesIO:
    """What Pillow opens: the path of a local file, the bytes of others."""
    content = source.read_bytes() if isinstance(source, RemoteFile) else source
    return io.BytesIO(content) if isinstance(content, bytes) else content


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself before its pixels."""

    stored_wh: tuple[int, int]  # pixels, before the turn that EXIF asks for
    orientation: int  # EXIF, 1 (upright) to 8

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels after the turn that the EXIF data asks for."""
        turned = self.orientation in QUARTER_TURNS
        return self.stored_wh[::-1] if turned else self.stored_wh


@dataclass(frozen=True)
class ImageFacts:
    """How an image file stores its pixels; all but `is_animated` from its header."""

    format: str  # Pillow's name
    mode: str  # Pillow's, of what it gives
    is_deep: bool  # more than 8 bits a channel
    is_transparent: bool
    is_animated: bool


def read_header(source: AnyImageFile) -> ImageHeader:
    """Read an image's header alone.

    Raises:
        FileNotFoundError: the file is missing.
        DataError: it is no image of a kind that is taken.
    """
    with _decoding(source) as image:
        return _header_of(image)


def read_image_size_wh(source: AnyImageFile) -> tuple[int, int]:
    """Read width and height from the header, after the turn; errors as in read_header."""
    return read_header(source).size_wh


def read_facts(source: AnyImageFile) -> ImageFacts:
    """Read how the pixels are stored; errors as in read_header."""
    with _decoding(source) as image:
        kind = image.format or ""
        stored = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
        return ImageFacts(
            format=kind,
            mode=image.mode,
            is_deep=image.mode in _WIDE_MODES or _DEEP_PIXELS in stored,
            is_transparent=image.has_transparency_data,
            is_animated=getattr(image, "is_animated", False) and kind != "MPO",
        )


def check_whole(source: AnyImageFile) -> ImageHeader:
    """Read the header, and check that read_image will not fail, as cheaply as the kind allows.

    PNG by its checksums, JPEG by decoding an eighth of its size; what fails there and other kinds
    by decoding.

    Raises:
        FileNotFoundError, DataError: as read_image.
    """
    with suppress(DataError, FileNotFoundError), _decoding(source) as image:
        header = _header_of(image)
        if isinstance(image, PngImageFile):
            if image.fp is not None:  # else it was decoded for its header
                image.verify()
            return header
        if image.format == "JPEG":
            image.draft("L", (1, 1))
            image.load()
            return header
    read_image(source)
    return read_header(source)


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
    """Whether a PNG has EXIF data or texts after its pixels; the file's position stays."""
    position, after_pixels = file.tell(), False
    file.seek(_PNG_SIGNATURE_BYTES)
    try:
        while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
            if after_pixels and start[4:] in _PNG_TEXTS:
                return True
            after_pixels |= start[4:] == b"IDAT"
            file.seek(int.from_bytes(start[:4], "big") + 4, os.SEEK_CUR)  # and the checksum
    finally:
        file.seek(position)
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
        full_range = _full_range(image)
        return _by_strips(image, lambda strip: _to_8_bit(strip, full_range))
    if image.has_transparency_data:
        return _by_strips(image, _on_white)
    return image.convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert to RGB some rows at a time: that costs no more memory than the result."""
    rgb = Image.new("RGB", image.size)
    for box in _strips(image):
        rgb.paste(convert(image.crop(box)).convert("RGB"), box)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _on_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque


def _full_range(image: Image.Image) -> float:
    """The range that the values show: 0..1 floats, 8 bit in wide pixels, or 16 bit."""
    largest = max((float(_values(image.crop(box)).max()) for box in _strips(image)), default=0.0)
    if image.mode == "F" and largest <= 1.0:
        return 1.0
    return 255.0 if largest <= 255.0 else max(65535.0, largest)


def _values(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bit(grey: Image.Image, full_range: float) -> Image.Image:
    values = np.round(_values(grey).clip(0.0) * (255.0 / full_range))
    return Image.fromarray(values.astype(np.uint8))
