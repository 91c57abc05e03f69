"""Labels are brought to the images as they are, and unusable images stop a run before it starts."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ddetr_data.check import check_dataset
from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource
from ddetr_data.faults import DataError
from ddetr_data.images import check_whole, read_header, read_image, turn_boxes
from ddetr_data.loading import verify_images

Content = dict[str, Any]
Write = Callable[..., DataSource]


@pytest.fixture
def source(content: Content, write_source: Write) -> DataSource:
    """Two faultless images of 40 x 30 pixels."""
    return write_source(content)


def load(source: DataSource) -> DetectionSet:
    return load_sources([source], num_classes=None)


def image_file(source: DataSource, name: str) -> Path:
    return Path(source.image_dir) / name


def test_a_faultless_set_comes_back_as_it_was(source: DataSource) -> None:
    """Nothing is changed and nothing counted; progress is told."""
    seen: list[tuple[int, int]] = []
    verified = verify_images(load(source), on_progress=lambda *step: seen.append(step))
    assert dict(verified.faults) == {}
    assert verified.to_coco() == load(source).to_coco()
    assert seen[-1] == (2, 2)


def test_missing_and_damaged_images_are_all_named(source: DataSource) -> None:
    """The error comes before a run, with every file and the way out."""
    image_file(source, "1.png").unlink()
    whole = image_file(source, "2.png").read_bytes()
    image_file(source, "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 2 .*1\.png is missing.*2\.png cannot.*skip"):
        verify_images(load(source))
    with pytest.raises(DataError, match="none of the 2 images"):
        verify_images(load(source), corrupt_images="skip")


def test_skipped_images_take_only_their_own_objects(source: DataSource) -> None:
    """What is left keeps ids, names and boxes; the loss is counted."""
    image_file(source, "1.png").write_bytes(b"")
    verified = verify_images(load(source), corrupt_images="skip")
    assert dict(verified.faults) == {"unreadable_image": 1}
    assert verified.to_coco()["images"] == load(source).to_coco()["images"][1:]
    assert verified.images[0].boxes_xywh.tolist() == [[5, 4, 10, 8], [10, 4, 10, 8]]


def test_boxes_of_a_resized_copy_are_scaled(source: DataSource) -> None:
    """Images that were made smaller after labelling keep their labels where they belong."""
    Image.new("RGB", (20, 15)).save(image_file(source, "1.png"))
    verified = verify_images(load(source))
    record = verified.images[0]
    assert dict(verified.faults) == {"resized_image": 1}
    assert (record.width, record.height) == (20, 15)
    assert record.boxes_xywh.tolist() == [[2.5, 2, 5, 4], [5, 2, 5, 4]]
    assert record.area.tolist() == [20, 20]


def test_boxes_are_clipped_to_an_image_of_another_shape(source: DataSource) -> None:
    """A size that the JSON invents is replaced, boxes outside the image are dropped."""
    Image.new("RGB", (12, 30)).save(image_file(source, "1.png"))
    verified = verify_images(load(source))
    assert dict(verified.faults) == {"other_image_size": 1}
    assert verified.images[0].boxes_xywh.tolist() == [[5, 4, 7, 8], [10, 4, 2, 8]]
    assert verified.images[1].boxes_xywh.tolist() == [[5, 4, 10, 8], [10, 4, 10, 8]]


def test_boxes_that_another_shape_leaves_outside_are_counted(
    content: Content, write_source: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """No row goes without a count, and the new sum is told."""
    content["annotations"][2]["bbox"] = [500, 4, 10, 8]
    source = write_source(content)
    Image.new("RGB", (9, 30)).save(image_file(source, "1.png"))
    verified = verify_images(load(source))
    assert dict(verified.faults) == {"other_image_size": 1, "outside_box": 2}
    assert verified.images[0].boxes_xywh.tolist() == [[5, 4, 4, 8]]
    assert "a box lies outside its image: 2 dropped" in caplog.messages[-1]
    report = check_dataset({"train": [source]})
    assert report.counts["outside_box"] == 2
    assert report.annotations == sum(len(record.labels) for record in verified.images)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_with_their_image(orientation: int) -> None:
    """A white rectangle in a stored image is where the turned box says."""
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:12, 5:15] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image))
    x, y, w, h = turn_boxes(np.array([[5.0, 4, 10, 8]]), (40, 30), orientation)[0].astype(int)
    assert turned.shape == (40, 30)
    assert (turned[y : y + h, x : x + w] == 255).all()
    assert (turned == 255).sum() == w * h


def test_sizes_from_before_the_exif_turn_are_turned(source: DataSource) -> None:
    """A JSON that describes the stored pixels is understood."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(image_file(source, "1.png"), exif=exif)
    verified = verify_images(load(source))
    record = verified.images[0]
    assert dict(verified.faults) == {"turned_image": 1}
    assert (record.width, record.height) == (30, 40)
    assert record.boxes_xywh[0].tolist() == [30 - 4 - 8, 5, 8, 10]


def png_of(pixels: bytes, *, crc_error: int = 0, behind: bytes = b"") -> bytes:
    """A PNG of 4 x 4 grey pixels with these bytes packed in it."""
    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header, 0), (b"IDAT", zlib.compress(pixels), crc_error), (b"IEND", b"", 0)]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data, bad in chunks:
        checksum = zlib.crc32(name + data) ^ bad
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)
    return content + behind


ROWS = b"\0abcd" * 4
CONTENTS = {
    "whole": (png_of(ROWS), True),
    "pixels end early": (png_of(ROWS[:-3]), False),
    "no pixels": (png_of(b""), False),
    "a row of no known kind": (png_of(b"\7abcd" * 4), False),
    "too many pixels": (png_of(ROWS * 2), True),
    "a wrong checksum": (png_of(ROWS, crc_error=1), True),  # the pixels are all there
    "more behind the end": (png_of(ROWS, behind=b"garbage"), True),
    "cut off": (png_of(ROWS)[:-24], False),
}


def cut(kind: str, *, at: float = 0.9, behind: bytes = b"") -> bytes:
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()[: int(at * len(content.getvalue()))] + behind


for each in ("JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "TGA", "PPM"):
    CONTENTS[f"{each} cut off"] = (cut(each), False)
    CONTENTS[f"{each} with more behind"] = (cut(each, at=1, behind=b"garbage"), True)
CONTENTS["JPEG2000 cut off"] = (cut("JPEG2000", at=0.3), False)  # its last passes only refine


@pytest.mark.parametrize("name", CONTENTS)
def test_the_check_before_a_run_decodes_as_the_run_does(tmp_path: Path, name: str) -> None:
    """What it lets pass can be read, and what cannot be read does not pass."""
    # fault 34
    content, is_whole = CONTENTS[name]
    outcomes = []
    for read in (read_image, check_whole):
        try:
            read(content)
        except DataError:
            outcomes.append(False)
        else:
            outcomes.append(True)
    assert outcomes == [is_whole, is_whole]


def test_the_kept_image_that_failed_in_an_epoch_is_found(
    source: DataSource, shared_data: Path
) -> None:
    """A PNG whose checksums are right and whose pixels end early."""
    # fault 34
    kept = shared_data / "faults" / "short_zlib.png"
    image_file(source, "1.png").write_bytes(kept.read_bytes())
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used: .*1\.png cannot be read"):
        verify_images(load(source))
    assert len(verify_images(load(source), corrupt_images="skip").images) == 1


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_png_too_short_for_its_size_costs_nothing(tmp_path: Path) -> None:
    """A hundred million rows in a hundred bytes are refused before they take memory."""
    # fault 30
    tall = bytearray(png_of(ROWS))
    tall[16:24] = struct.pack(">II", 1, 99_999_999)
    tall[29:33] = struct.pack(">I", zlib.crc32(bytes(tall[12:29])))
    for read in (read_header, read_image, check_whole):
        with pytest.raises(DataError, match="bytes are too few for 1 x 99999999 pixels"):
            read(bytes(tall))
