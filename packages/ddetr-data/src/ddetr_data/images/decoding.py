"""Reading an image file as 8-bit RGB, the way up that its EXIF data says."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import IO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ddetr_data.faults import DataError
from ddetr_data.files import check_regular, is_of_this_process
from ddetr_data.images._complaints import AnyImageFile, complaint, named
from ddetr_data.images._jpeg_scans import has_more_scans
from ddetr_data.images._rgb import (
    WIDE_MODES,
    decode_lower_bytes,
    largest_values,
    to_rgb,
    unpacks_upper_bytes,
)
from ddetr_data.images.kinds import image_formats
from ddetr_data.images.orientation import ImageHeader, header_of, upright
from ddetr_data.images.white_levels import USUAL_WHITE, WhiteLevels
from ddetr_data.locations import RemoteFile

_DEEP_PIXELS = ";16"  # in Pillow's name for how a file stores pixels that it opens as 8 bit
_PNG_SIGNATURE_BYTES = 8
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # where orientation may stand
_LARGEST_DEFLATION = 1100  # bytes that deflate makes of one, at most 1032 in truth
_LARGE_PIXELS = 2**25  # beyond it one image is decoded at a time, whose pixels take 128 MiB
_large = threading.Lock()


def read_image(
    source: AnyImageFile,
    *,
    white: WhiteLevels = USUAL_WHITE,
    most_pixels: int | None = None,
    most_side: int | None = None,
    most_scans: int | None = None,
) -> Image.Image:
    """Read an image of a known kind as RGB, turned as its EXIF data says.

    More than 8 bits a channel are brought to 8, transparent parts become white, and of an animation
    the first frame is taken.

    Args:
        source: where it lies, or what the file holds.
        white: which value of more than 8 bits is white.
        most_pixels: width times height that is still decoded; absent, Pillow's own limit.
        most_side: width or height that is still decoded. A row costs memory of its own, however
            short it is.
        most_scans: passes over the pixels of a JPEG that are still decoded. Each takes time.

    Raises:
        FileNotFoundError: the file is missing.
        DataError: it is no image of such a kind, damaged, or has too many pixels or scans.
    """
    excess = None
    with _decoding(source) as image:
        width, height = image.size
        if most_pixels is not None and width * height > most_pixels:
            excess = f"{width} x {height} pixels, at most {most_pixels} are taken"
        elif most_side is not None and max(width, height) > most_side:
            excess = f"{width} x {height} pixels, at most {most_side} on a side are taken"
        elif most_scans is not None and _has_more_scans(image, most_scans):
            excess = f"a JPEG of more than {most_scans} scans, which takes too long to decode"
        else:
            with _one_large_at_a_time(image):
                lower = _decoded(image, source)
                return to_rgb(upright(image), white, lower and upright(lower))
    raise DataError(f"{named(source)} is {excess}")


def _decoded(image: ImageFile, source: AnyImageFile) -> Image.Image | None:
    """Decode an open image; gives the lower bytes of 16-bit colours, which take a second pass."""
    if not unpacks_upper_bytes(image):
        image.load()
        return None
    image.load()
    with _decoding(source) as again:
        return decode_lower_bytes(again)


def _one_large_at_a_time(image: Image.Image) -> AbstractContextManager[object]:
    """Hold back the threads that decode other large images: each takes up to 2 GiB."""
    is_large = image.width * image.height > _LARGE_PIXELS
    return _large if is_large else nullcontext()


def _has_more_scans(image: Image.Image, most: int) -> bool:
    file = image.fp if isinstance(image, JpegImageFile) else None  # an MPO is one too
    return file is not None and has_more_scans(file, most)


@contextmanager
def _decoding(source: AnyImageFile) -> Iterator[ImageFile]:
    """Give an image that Pillow has opened, for work that is the decoder's alone.

    Whatever a decoder raises at what a file holds makes it an image that cannot be read: those of
    damaged files are of any kind, RuntimeError, struct.error and MemoryError among them.

    Raises:
        FileNotFoundError, DataError: as read_image.
        OSError: this process has too many files open.
    """
    try:
        if not isinstance(source, (bytes, RemoteFile)):
            check_regular(source, "the image")
        with Image.open(_openable(source), formats=image_formats()) as image:
            if isinstance(image, PngImageFile):
                _refuse_too_short(image)
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{named(source)} is missing") from None
    except DataError:  # of a URL; it names that
        raise
    except Exception as error:
        if isinstance(error, OSError) and is_of_this_process(error):
            raise
        raise DataError(complaint(source, error)) from error


def _refuse_too_short(image: PngImageFile) -> None:
    """Refuse a PNG that says more pixels than its bytes can hold, before they cost memory."""
    if image.fp is None:
        return
    position = image.fp.tell()
    size_bytes = image.fp.seek(0, os.SEEK_END)
    image.fp.seek(position)
    least_bytes = image.height * (1 + image.width // 8)  # of 1 bit a pixel
    if least_bytes > size_bytes * _LARGEST_DEFLATION:
        raise OSError(f"{size_bytes} bytes are too few for {image.width} x {image.height} pixels")


def _openable(source: AnyImageFile) -> str | os.PathLike[str] | io.BytesIO:
    """What Pillow opens: the path of a local file, the bytes of others."""
    content = source.read_bytes() if isinstance(source, RemoteFile) else source
    return io.BytesIO(content) if isinstance(content, bytes) else content


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
            is_deep=image.mode in WIDE_MODES or _DEEP_PIXELS in stored,
            is_transparent=image.has_transparency_data,
            is_animated=_is_animated(image) and kind != "MPO",
        )


def _is_animated(image: Image.Image) -> bool:
    """Whether a second frame follows; the first one can be read though that is damaged."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the block is Pillow's alone, and it has begun to read one
        return True


def check_whole(source: AnyImageFile) -> ImageHeader:
    """Read the header, and check that read_image will not fail, as cheaply as the kind allows.

    JPEG by decoding an eighth of its size, what fails there and other kinds as read_image does.
    The header then holds the largest value of an image of more than 8 bits, too.

    Raises:
        FileNotFoundError, DataError: as read_image.
    """
    with suppress(DataError, FileNotFoundError), _decoding(source) as image:
        if image.format == "JPEG":
            header = _header_of(image)
            image.draft("L", (1, 1))
            image.load()
            return header
    with _decoding(source) as image, _one_large_at_a_time(image):
        header = _header_of(image)
        lower = _decoded(image, source)
        to_rgb(upright(image), lower=lower and upright(lower))
        return replace(header, largest=largest_values(image, lower))


def _header_of(image: ImageFile) -> ImageHeader:
    if isinstance(image, PngImageFile) and image.fp is not None and _has_late_text(image.fp):
        image.load()  # Pillow reads what follows the pixels with them
    return header_of(image)


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
