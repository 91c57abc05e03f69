"""Damaged image files by number: each is a function of its number and one seed.

Whole files of twelve formats, several of each as programs write them, are damaged as bytes, have
parts exchanged, get the header of another format, or state a size that they do not have.
"""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from proofs.fuzz.mutations import mutate_bytes

__all__ = ["FORMATS", "DamagedImage", "damaged_image", "whole_image"]

SEED = 0
WIDTH, HEIGHT = 61, 47  # odd enough to be found again among a file's bytes
HEADER_BYTES = 512
LARGEST_PART = 200  # bytes
SIZES = (0, 1, 60, 62, 255, 4096, 20_000, 65_535, 10**6, 2**31 - 1, 2**32 - 1)

# Format -> mode and options of each of its whole files; the usual ending is the format's.
FORMATS: Mapping[str, tuple[tuple[str, str, Mapping[str, Any]], ...]] = {
    "jpg": (
        ("JPEG", "RGB", {"quality": 90}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {"restart_marker_rows": 1}),
    ),
    "mpo": (("MPO", "RGB", {"save_all": True}),),
    "png": (
        ("PNG", "RGB", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("PNG", "1", {}),
    ),
    "apng": (("PNG", "RGB", {"save_all": True}),),
    "bmp": (("BMP", "RGB", {}), ("BMP", "P", {}), ("BMP", "1", {})),
    "gif": (("GIF", "P", {}), ("GIF", "P", {"save_all": True})),
    "ppm": (("PPM", "RGB", {}), ("PPM", "L", {}), ("PPM", "1", {}), ("PPM", "I;16", {})),
    "tif": (
        *(("TIFF", "RGB", {"compression": each}) for each in ("raw", "tiff_lzw", "jpeg")),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "I;16", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "F", {}),
        ("TIFF", "CMYK", {"compression": "packbits"}),
    ),
    "webp": (
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"save_all": True}),
    ),
    "avif": (("AVIF", "RGB", {}), ("AVIF", "RGBA", {"speed": 8})),
    "jp2": (
        ("JPEG2000", "RGB", {}),
        ("JPEG2000", "I;16", {}),
        ("JPEG2000", "L", {"no_jp2": True, "irreversible": True}),
    ),
    "tga": (("TGA", "RGB", {}), ("TGA", "RGBA", {"compression": "tga_rle"}), ("TGA", "P", {})),
}
WITH_EXIF = ("JPEG", "PNG", "WEBP", "AVIF", "MPO")


class DamagedImage(NamedTuple):
    """A file's name, in which format and damage stand, and what it holds."""

    name: str
    content: bytes


def damaged_image(number: int) -> DamagedImage:
    """Make file `number`; the formats take turns."""
    rng = random.Random(f"{SEED}/decoders/{number}")
    form = list(FORMATS)[number % len(FORMATS)]
    whole = whole_image(form, rng.randrange(len(FORMATS[form])))
    damage = rng.choices(list(DAMAGES), [weight for weight, _ in DAMAGES.values()])[0]
    kind, content = DAMAGES[damage][1](whole, rng)
    ending = form if rng.random() < 0.9 else rng.choice(list(FORMATS))  # a decoder under any name
    return DamagedImage(f"{number:05d}-{form}-{kind}.{ending}", content)


@cache
def whole_image(form: str, variant: int) -> bytes:
    """A whole file of noise over a ramp; some state an orientation."""
    from PIL import Image

    rng = random.Random(f"{form}/{variant}")
    grey = bytes(
        (x * 4 + y * 2 + rng.randrange(60)) % 256 for y in range(HEIGHT) for x in range(WIDTH)
    )
    image = Image.frombytes("L", (WIDTH, HEIGHT), grey)
    kind, mode, options = FORMATS[form][variant]
    colours = Image.merge("RGB", (image, image.rotate(180), image.transpose(0)))
    source = image if mode in ("I;16", "F") else colours
    options = dict(options)
    if options.get("save_all"):
        options["append_images"] = [source.rotate(180).convert(mode)]
    if kind in WITH_EXIF:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif.tobytes()
    content = io.BytesIO()
    source.convert(mode).save(content, kind, **options)
    return content.getvalue()


def _state_size(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Write another width, height or both wherever the file states its own."""
    width, height = rng.choice(SIZES), rng.choice(SIZES)
    if rng.random() < 0.5:
        width, height = rng.choice(((width, HEIGHT), (WIDTH, height)))
    text = re.compile(rb"(P\d\s+)%d %d\b" % (WIDTH, HEIGHT))
    if text.match(content):
        return "size", text.sub(rb"\g<1>%d %d" % (width, height), content, count=1)
    damaged = bytearray(content)
    for layout, most in ((">I", 2**32 - 1), ("<I", 2**32 - 1), (">H", 65_535), ("<H", 65_535)):
        found = _stated(content, layout)
        for start, own in found:
            stated = min(width if own == WIDTH else height, most)
            damaged[start : start + struct.calcsize(layout)] = struct.pack(layout, stated)
        if found:
            break
    return "size", bytes(damaged)


def _stated(content: bytes, layout: str) -> list[tuple[int, int]]:
    """Where width and height stand near each other, and which of them."""
    width, height = struct.pack(layout, WIDTH), struct.pack(layout, HEIGHT)
    near = re.compile(
        b"(%s).{0,16}?(%s)|(%s).{0,16}?(%s)"
        % tuple(map(re.escape, (width, height, height, width))),
        re.DOTALL,
    )
    sides = (WIDTH, HEIGHT, HEIGHT, WIDTH)
    return [
        (each.start(group), sides[group - 1])
        for each in near.finditer(content)
        for group in range(1, 5)
        if each[group] is not None
    ]


def _swap_parts(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Exchange two stretches of a file, as a broken disk or network does."""
    length = rng.randrange(1, min(LARGEST_PART, len(content) // 2))
    first = rng.randrange(len(content) - 2 * length + 1)
    second = rng.randrange(first + length, len(content) - length + 1)
    between = content[first + length : second]
    parts = (content[second : second + length], between, content[first : first + length])
    return "swap", content[:first] + b"".join(parts) + content[second + length :]


def _splice(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Begin with the header of another file, of the same format or of another one."""
    form = rng.choice(list(FORMATS))
    other = whole_image(form, rng.randrange(len(FORMATS[form])))
    cut = rng.randrange(1, min(HEADER_BYTES, len(other)))
    return "splice", other[:cut] + content[rng.choice((cut, 0)) :]


def _bytes(content: bytes, rng: random.Random, *, times: int) -> tuple[str, bytes]:
    for _ in range(times):
        kind, content = mutate_bytes(content or b"\0", rng)
    return kind if times == 1 else "several", content


# Weight, and what damages a file.
DAMAGES: Mapping[str, tuple[float, Callable[[bytes, random.Random], tuple[str, bytes]]]] = {
    "bytes": (60, partial(_bytes, times=1)),
    "several": (10, partial(_bytes, times=3)),
    "swap": (10, _swap_parts),
    "splice": (10, _splice),
    "size": (10, _state_size),
}
