"""Which way up an image is: the turn that its EXIF data asks for, told by headers and applied."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from ddetr_data.images.white_levels import WhiteLevels

QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HELD_IN = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # of Image.info


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself before its pixels."""

    stored_wh: tuple[int, int]  # pixels, before the turn that EXIF asks for
    orientation: int  # EXIF, 1 (upright) to 8
    # The largest value of an image of more than 8 bits, where its pixels were looked at.
    largest: WhiteLevels = field(default_factory=WhiteLevels)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels after the turn that the EXIF data asks for."""
        turned = self.orientation in QUARTER_TURNS
        return self.stored_wh[::-1] if turned else self.stored_wh


def header_of(image: Image.Image) -> ImageHeader:
    """The header of an open image that is not decoded yet."""
    if isinstance(image, TiffImageFile):
        # Its size is the upright one in some versions of Pillow, which turn it while decoding.
        return ImageHeader((image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]), _told_by(image))
    return ImageHeader(image.size, _told_by(image))


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data says; one without a turn comes back as it is."""
    image.load()  # some decoders turn by themselves, or know it only then
    turn = _TURNS.get(_told_by(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _HELD_IN:  # else it would be turned again
        turned.info.pop(name, None)
    return turned


def _told_by(image: Image.Image) -> int:
    """EXIF's orientation; 1 where the data are damaged, as viewers take it."""
    try:
        # Not a PNG's own way, which decodes all of it: header and pixels must agree in all kinds.
        told = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return int(told) if told in range(1, 9) else 1
    except Exception:  # the block is Pillow's alone, and an image is more than its EXIF data
        return 1
