"""Checking image files: what cannot be used is an error, what is unusual a note."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ddetr_data.check import ImageInspector, ImageTask
from ddetr_data.faults import DataError
from ddetr_data.images import read_image

SIZE_WH = (64, 48)


def inspect(path, stated_wh=SIZE_WH, decode=True):
    (inspection,) = ImageInspector(decode)([ImageTask(path, stated_wh)])
    return [fault for fault, _ in inspection.faults]


def noise():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("decode", [True, False])
def test_plain_image_has_no_fault(tmp_path, decode):
    """A whole RGB image of the stated size is nothing to talk about."""
    noise().save(tmp_path / "a.jpg")
    assert inspect(tmp_path / "a.jpg", decode=decode) == []


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_cut_off_image_is_unreadable(tmp_path, ending, decode):
    """A file that ends too early is found also without decoding it all."""
    path = tmp_path / f"a{ending}"
    noise().save(path)
    path.write_bytes(path.read_bytes()[:-800])
    assert inspect(path, decode=decode) == ["unreadable_image"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xd8\xff\xe0"])
def test_file_without_image_is_unreadable(tmp_path, content):
    """Zero bytes, a web page and a bare header are each named."""
    (tmp_path / "a.jpg").write_bytes(content)
    assert inspect(tmp_path / "a.jpg") == ["unreadable_image"]


def test_missing_image_and_folder(tmp_path):
    """A missing file is told apart from one that cannot be read."""
    (tmp_path / "folder.png").mkdir()
    assert inspect(tmp_path / "gone.png") == ["missing_image"]
    assert inspect(tmp_path / "folder.png") == ["unreadable_image"]


@pytest.mark.parametrize(
    ("mode", "ending", "faults"),
    [
        ("L", ".jpg", ["grey_image"]),
        ("1", ".png", ["grey_image"]),
        ("CMYK", ".jpg", ["cmyk_image"]),
        ("P", ".png", ["palette_image"]),
        ("I;16", ".png", ["deep_image"]),
        ("RGBA", ".png", ["transparent_image"]),
        ("LA", ".png", ["grey_image", "transparent_image"]),
    ],
)
def test_unusual_pixels_are_noted(tmp_path, mode, ending, faults):
    """Every mode that is converted on reading is named."""
    Image.new(mode, SIZE_WH).save(tmp_path / f"a{ending}")
    assert inspect(tmp_path / f"a{ending}") == faults


def test_animation_is_noted(tmp_path):
    """Of several frames the first is taken, which is said."""
    frames = [Image.new("RGB", SIZE_WH, color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert "animated_image" in inspect(tmp_path / "a.gif")


def test_damage_behind_the_first_frame_is_no_damage_of_it(tmp_path):
    """Training and inference read the first frame alone, and so does the check."""
    frames = [noise(), noise().rotate(180)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    first = tmp_path / "first.gif"
    frames[0].save(first)
    whole = (tmp_path / "a.gif").read_bytes()
    for length in range(first.stat().st_size, len(whole), 97):
        (tmp_path / "a.gif").write_bytes(whole[:length])
        assert outcome(tmp_path / "a.gif") == is_read(tmp_path / "a.gif")


def outcome(path):
    return "unreadable_image" not in inspect(path)


def is_read(path):
    try:
        read_image(path)
    except DataError:
        return False
    return True


def test_ending_of_another_format_is_noted(tmp_path):
    """A PNG called .jpg is read all the same."""
    noise().save(tmp_path / "a.jpg", format="png")
    assert inspect(tmp_path / "a.jpg") == ["misnamed_image"]


@pytest.mark.parametrize(
    ("stated_wh", "fault"),
    [
        ((48, 64), "upright_by_exif"),
        ((64, 48), "turned_image"),
        ((96, 128), "resized_image"),
        ((50, 50), "other_image_size"),
    ],
)
def test_size_of_a_turned_image(tmp_path, stated_wh, fault):
    """The labels may mean the turned or the stored image, a resized copy, or another one."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise().save(tmp_path / "a.jpg", exif=exif)
    assert inspect(tmp_path / "a.jpg", stated_wh) == [fault]


def test_digest_tells_contents_apart(tmp_path):
    """Equal bytes have equal digests; without decoding there is none."""
    noise().save(tmp_path / "a.png")
    noise().save(tmp_path / "b.png")
    Image.new("RGB", SIZE_WH).save(tmp_path / "c.png")
    tasks = [ImageTask(tmp_path / name, None) for name in ("a.png", "b.png", "c.png")]
    first, second, third = (found.digest for found in ImageInspector(True)(tasks))
    assert first == second != third
    assert ImageInspector(False)(tasks)[0].digest is None


def test_sixteen_bits_of_colour_are_noted(tmp_path):
    """Pillow opens such a PNG as 8-bit RGB; the file still has more than is used."""
    path = tmp_path / "deep.png"
    Image.new("RGB", (4, 4)).save(path)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(4 * (1 + 4 * 6)))), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(path.read_bytes()[:8] + content)
    (found,) = ImageInspector(decode=True)([ImageTask(path, (4, 4), 7)])
    assert found.faults == (("deep_image", f"image 7: {path}"),)


def test_image_that_may_not_be_read_is_named_with_its_id(tmp_path):
    """A folder of the image's name stands for it here: everything can be read by root."""
    (tmp_path / "a.png").mkdir()
    (found,) = ImageInspector(decode=False)([ImageTask(tmp_path / "a.png", None, 3)])
    ((fault, detail),) = found.faults
    assert fault == "unreadable_image"
    assert detail.startswith("image 3: the image ")
