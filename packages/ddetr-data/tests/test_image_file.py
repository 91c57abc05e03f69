"""Images of every mode are read as upright 8-bit RGB, damaged ones are named."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ddetr_data.faults import DataError
from ddetr_data.images import (
    check_whole,
    read_facts,
    read_header,
    read_image,
    read_image_size_wh,
)
from ddetr_data.images import decoding as image_file

GREY = np.tile(np.linspace(0, 255, 8, dtype=np.uint8), (4, 1))  # (4, 8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    """16 bit is scaled to 8 bit and not cut off at 255."""
    path = save(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    assert (np.asarray(read_image(path)) == GREY[..., None]).all()


def test_float_images_from_zero_to_one_are_scaled(tmp_path: Path) -> None:
    """A float TIFF of 0 to 1 is not black."""
    path = save(tmp_path / "a.tif", GREY.astype(np.float32) / 255)
    assert (np.asarray(read_image(path)) == GREY[..., None]).all()


@pytest.mark.parametrize(
    ("mode", "ending"), [("1", "png"), ("L", "jpg"), ("LA", "png"), ("P", "gif"), ("CMYK", "jpg")]
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, ending: str) -> None:
    """Bilevel, grey, palette and CMYK images are read, bright at the right."""
    pixels = np.asarray(read_image(save(tmp_path / f"a.{ending}", GREY, mode)))
    assert pixels.shape == (4, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels[:, -1].mean() > pixels[:, 0].mean() + 100


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    """What is invisible does not show the colour hidden behind it."""
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    read = np.asarray(read_image(save(tmp_path / "a.png", pixels)))
    assert read[0, 0].tolist() == [10, 20, 30]
    assert read[1, 1].tolist() == [255, 255, 255]


def test_large_images_are_converted_like_small_ones(tmp_path: Path) -> None:
    """Colours and the range of values are those of the whole, though it is read in parts."""
    wide = np.zeros((1200, 1000), np.uint16)
    wide[0, 0], wide[-1, -1] = 257, 65535
    read = np.asarray(read_image(save(tmp_path / "wide.png", wide)))
    assert (read[0, 0, 0], read[-1, -1, 0]) == (1, 255)
    clear = np.random.default_rng(0).integers(0, 256, (1200, 1000, 4), np.uint8)
    white = Image.new("RGBA", (1000, 1200), "white")
    white.alpha_composite(Image.fromarray(clear))
    read = np.asarray(read_image(save(tmp_path / "clear.png", clear)))
    assert (read == np.asarray(white.convert("RGB"))).all()


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    """An animated GIF is an image like another."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_are_applied(tmp_path: Path, orientation: int) -> None:
    """Whatever way the camera was held, the bright corner ends up at the top left."""
    upright = np.zeros((4, 8), np.uint8)
    upright[0, 0] = 255
    undo = {1: (), 2: ("h",), 3: ("h", "v"), 4: ("v",)}
    stored = upright.T if orientation > 4 else upright
    flips = undo.get(orientation, {5: (), 6: ("v",), 7: ("h", "v"), 8: ("h",)}.get(orientation))
    for flip in flips or ():
        stored = stored[:, ::-1] if flip == "h" else stored[::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    assert (np.asarray(read_image(path))[..., 0] == upright).all()
    assert read_image_size_wh(path) == (8, 4)


@pytest.mark.parametrize("read", [read_image, read_image_size_wh])
def test_a_missing_or_damaged_image_is_named(tmp_path: Path, read: object) -> None:
    """One sentence holds the file and what is wrong with it."""
    path = tmp_path / "a.png"
    with pytest.raises(FileNotFoundError, match=r"a\.png is missing"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png is empty"):
        read(path)
    contents = {
        b"<html>": "it is a web page",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "git lfs pull",
        b"%!PS-Adobe-3.0 EPSF-3.0\n": "it is PostScript .*, which is not taken",
        b"%PDF-1.7": "it is a PDF, which is not taken",
        b"\0\0\0\x18ftypheic\0\0\0\0": "it is a HEIC image, which is not taken",
        b"nothing": "no image of a known kind",
    }
    for content, likeness in contents.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.png cannot be read, .*{likeness}"):
            read(path)
    with pytest.raises(DataError, match="it is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "tif", "bmp"])
def test_an_image_that_is_cut_off_is_refused(tmp_path: Path, ending: str) -> None:
    """Half an image is not padded with grey."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{ending}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.\w+ cannot be read"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_header, check_whole, read_facts])
def test_whatever_a_decoder_raises_names_the_image(tmp_path: Path, read: object) -> None:
    """The AVIF decoder of a damaged file raises RuntimeError, under any name of the file."""
    whole = io.BytesIO()
    Image.fromarray(GREY).convert("RGB").save(whole, "AVIF")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole.getvalue().replace(b"iloc", b"ilox").replace(b"iinf", b"iinx"))
    with pytest.raises(DataError, match=r"a\.jpg cannot be read") as caught:
        read(path)
    assert type(caught.value.__cause__) in (RuntimeError, SyntaxError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write into it."""
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg must be a file, it is a pipe"):
        read_image(tmp_path / "a.jpg")


def read_without_files(path: Path) -> None:
    """Read an image after all files that may be open are."""
    import resource

    read_image(path)  # so that all modules are loaded
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with ExitStack() as files:
        with suppress(OSError):
            while True:
                files.enter_context(path.open("rb"))
        with pytest.raises(OSError, match="Too many open files"):
            read_image(path)


@pytest.mark.skipif(os.name != "posix", reason="limits of open files")
def test_too_many_open_files_are_no_fault_of_the_image(tmp_path: Path) -> None:
    """An image that cannot be opened just now must not be left out as a damaged one."""
    # fault 20
    path = save(tmp_path / "a.png", GREY)
    context = multiprocessing.get_context("fork")  # the limit is none of this process
    process = context.Process(target=read_without_files, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_what_a_file_holds_is_read_too() -> None:
    """As a server gets it; the size is looked at before the pixels."""
    whole = io.BytesIO()
    Image.fromarray(GREY).save(whole, "PNG")
    assert read_image(whole.getvalue()).size == (8, 4)
    with pytest.raises(DataError, match="the image is 8 x 4 pixels, at most 31 are taken"):
        read_image(whole.getvalue(), most_pixels=31)
    with pytest.raises(DataError, match="is 8 x 4 pixels, at most 7 on a side are taken"):
        read_image(whole.getvalue(), most_pixels=32, most_side=7)
    with pytest.raises(DataError, match="the image cannot be read, it is no image"):
        read_image(b"nothing")


def test_a_jpeg_of_endless_scans_is_known_before_it_is_decoded() -> None:
    """Its last scan again and again; what follows the image's end is not counted."""
    usual = io.BytesIO()
    Image.fromarray(GREY).save(usual, "JPEG", progressive=True)
    whole = usual.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert read_image(whole + last * 1000, most_scans=100).size == (8, 4)
    with pytest.raises(DataError, match="a JPEG of more than 100 scans, which takes too long"):
        read_image(whole[:-2] + last * 100 + whole[-2:], most_scans=100)


def outcome(read: Callable[[Path], object], path: Path) -> bool:
    """Whether a file can be read; any other error than the named one fails the test."""
    try:
        read(path)
    except DataError:
        return False
    return True


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed anywhere or near the start, a hole of zeros, or the end cut off."""
    spoiled = np.frombuffer(whole, np.uint8).copy()
    kind, start = rng.integers(4), int(rng.integers(len(whole)))
    if kind == 0:
        spoiled[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
    elif kind == 1:
        spoiled[rng.integers(0, 200, 3)] = rng.integers(0, 256, 3)
    elif kind == 2:
        spoiled[start : start + 300] = 0
    else:
        spoiled = spoiled[:start]
    return spoiled.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "ending",
    ["jpg", "jpeg", "png", "webp", "bmp", "tif", "gif", "jp2", "avif", "tga", "ppm", "mpo"],
)
def test_damage_is_found_before_training_wherever_it_is(tmp_path: Path, ending: str) -> None:
    """What check_whole lets pass can be decoded, and what it refuses cannot: no luck in between."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"progressive": True} if ending == "jpeg" else {"exif": exif}
    path = tmp_path / f"a.{ending}"
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path, **options)
    whole = path.read_bytes()
    decoded = []
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        outcome(read_header, path)
        decoded.append(outcome(read_image, path))
        assert outcome(check_whole, path) == decoded[-1]
    assert not all(decoded)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


@pytest.mark.parametrize("is_late", [False, True])
def test_the_size_of_a_png_is_read_without_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """EXIF data before the pixels are enough; only what follows them costs decoding."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 4)).save(path, **({} if is_late else {"exif": exif}))
    if is_late:
        start, _, end = path.read_bytes().rpartition(b"\0\0\0\0IEND")
        chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        path.write_bytes(start + chunk + b"\0\0\0\0IEND" + end)
    assert read_image(path).size == (4, 8)
    loads = []
    load = PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(
        PngImagePlugin.PngImageFile, "load", lambda image: (loads.append(1), load(image))[1]
    )
    assert read_image_size_wh(path) == (4, 8)
    assert bool(loads) == is_late
    assert check_whole(path).size_wh == (4, 8)


def test_loading_the_package_leaves_the_warnings_alone() -> None:
    """A library changes no filters of its program."""
    code = (
        "import warnings, ddetr_data.images as images\n"
        "images.image_formats()\n"
        "assert not [each for each in warnings.filters if 'PIL' in str(each)]"
    )
    unasked = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=unasked)


def test_only_the_decoders_of_the_list_are_loaded() -> None:
    """No file makes Pillow start Ghostscript or render a PDF."""
    code = (
        "import sys, ddetr_data.images as images\n"
        "try: images.read_image(b'%!PS-Adobe-3.0 EPSF-3.0')\n"
        "except ValueError: pass\n"
        "loaded = {name for name in sys.modules if name.endswith('ImagePlugin')}\n"
        "assert not loaded & {'PIL.EpsImagePlugin', 'PIL.PdfImagePlugin', 'PIL.WmfImagePlugin'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_leaves_the_warnings_of_other_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even while an image is decoded are the program's warning filters others."""
    path = save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    before, during = list(warnings.filters), []
    monkeypatch.setattr(
        image_file, "to_rgb", lambda image, *_: during.append(list(warnings.filters)) or image
    )
    read_image(path)
    assert during == [before]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image beyond Pillow's guard against decompression bombs is not called damaged."""
    path = save(tmp_path / "a.png", np.zeros((30, 30, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(DataError, match=r"a\.png is too large.*MAX_IMAGE_PIXELS.*900 pixels"):
        read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # below twice that: a warning
    assert read_image(path).size == (30, 30)
