"""Header, pixels and boxes agree about the turn that EXIF asks for: every kind, every turn."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.config import DataSource
from ddetr_data.images import check_whole, open_image, read_header, read_image
from ddetr_data.loading import open_sources

ORIENTATION = 0x0112
WIDTH, HEIGHT = 64, 40  # upright
BOX = (8, 24, 20, 10)  # of the bright rectangle: left, top, width, height, upright
MOST_SPILL = 2  # pixels, where a lossy format blurs an edge
# How the upright image is stored, so that a viewer who follows EXIF shows it upright.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def by_exif(orientation: int) -> dict[str, object]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return {"exif": exif.tobytes()}


def by_tag(orientation: int, tag: int = ORIENTATION, value: object = None) -> dict[str, object]:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = value or orientation
    return {"tiffinfo": tags}


KINDS: dict[str, tuple[str, Callable[[int], dict[str, object]]]] = {
    "a.jpg": ("JPEG", lambda turn: by_exif(turn) | {"quality": 95}),
    "xmp.jpg": ("JPEG", lambda turn: {"xmp": XMP.format(turn).encode(), "quality": 95}),
    "a.mpo": ("MPO", by_exif),
    "a.png": ("PNG", by_exif),
    "a.webp": ("WEBP", lambda turn: by_exif(turn) | {"lossless": True}),
    "a.avif": ("AVIF", lambda turn: by_exif(turn) | {"quality": 95}),
    "a.tif": ("TIFF", by_tag),
    "lzw.tif": ("TIFF", lambda turn: by_tag(turn) | {"compression": "tiff_lzw"}),
    "jpeg.tif": ("TIFF", lambda turn: by_tag(turn) | {"compression": "jpeg", "quality": 95}),
    "xmp.tif": ("TIFF", lambda turn: by_tag(turn, 700, XMP.format(turn).encode())),
    "misnamed.png": ("TIFF", by_tag),
}


def upright_pixels() -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    left, top, width, height = BOX
    pixels[top : top + height, left : left + width] = 240
    return pixels


def bright_box(pixels: np.ndarray) -> list[int]:
    """Left, top, right and bottom of what is bright."""
    rows, columns = np.nonzero(pixels > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def stored_image(orientation: int) -> Image.Image:
    image, turn = Image.fromarray(upright_pixels()).convert("RGB"), STORED[orientation]
    return image if turn is None else image.transpose(turn)


def saved(name: str, orientation: int) -> bytes:
    kind, options = KINDS[name]
    content = io.BytesIO()
    stored_image(orientation).save(content, kind, **options(orientation))
    return content.getvalue()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", KINDS)
def test_header_and_pixels_agree(name: str, orientation: int) -> None:
    """About the size before and after the turn; the image comes out upright, however it is read."""
    # fault 32
    content = saved(name, orientation)
    header = read_header(content)
    assert header.orientation == orientation
    assert header.stored_wh == stored_image(orientation).size
    assert header.size_wh == (WIDTH, HEIGHT)
    assert check_whole(content) == header
    shown = np.asarray(read_image(content))
    assert np.abs(shown.astype(int)[..., 0] - upright_pixels()).mean() < MOST_SPILL
    with Image.open(io.BytesIO(content)) as image:  # decoded or not, it is turned once
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(open_image(image)), shown)
            image.load()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize("name", KINDS)
def test_boxes_lie_on_their_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, frame: str, orientation: int
) -> None:
    """Whether the labels are of the image as it is stored or as it is shown."""
    # fault 32
    if frame == "stored" and orientation in (2, 3, 4):
        pytest.skip("a mirrored image has one size in both frames: labels are taken as upright")
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    (tmp_path / name).write_bytes(saved(name, orientation))
    source = stated(tmp_path, name, orientation if frame == "stored" else 1)
    found = open_sources([source], num_classes=2)
    record = found.images[0]
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    left, top, width, height = record.boxes_xywh[0].tolist()
    shown = bright_box(np.asarray(read_image(record.path))[..., 0])
    np.testing.assert_allclose([left, top, left + width, top + height], shown, atol=MOST_SPILL)
    report = check_dataset({"set": [source]}, CheckOptions(workers=1))
    is_turned = frame == "stored" and orientation > 4
    told = {1: None}.get(orientation, "turned_image" if is_turned else "upright_by_exif")
    assert {"turned_image", "upright_by_exif"} & report.counts.keys() == ({told} if told else set())


def stated(folder: Path, name: str, orientation: int) -> DataSource:
    """Labels in the frame of an image that is stored so."""
    image = stored_image(orientation)
    left, top, right, bottom = map(int, bright_box(np.asarray(image)[..., 0]))
    row = {"id": 1, "file_name": name, "width": image.width, "height": image.height}
    box = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 200}
    labels = {
        "images": [row],
        "annotations": [box | {"bbox": [left, top, right - left, bottom - top]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (folder / "labels.json").write_text(json.dumps(labels))
    return DataSource(image_dir=folder, json_file=folder / "labels.json")


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0nothing of a TIFF", b"Exif\0\0II*\0\xff\xff"]
)
def test_damaged_exif_data_leave_the_image_as_it_is_stored(exif: bytes) -> None:
    """Viewers show such images; header, check and pixels agree about it."""
    content = io.BytesIO()
    stored_image(1).save(content, "JPEG", exif=exif)
    assert read_header(content.getvalue()).orientation == 1
    assert check_whole(content.getvalue()).size_wh == read_image(content.getvalue()).size
