"""Images of more than 8 bits a channel: one white level for a set, whatever each image shows."""

from __future__ import annotations

import io
import json
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.detection import Detector, EvaluateConfig, InferenceConfig, evaluate, label
from ddetr_data.faults import DataError
from ddetr_data.images import (
    PreprocessConfig,
    WhiteLevels,
    check_whole,
    open_image,
    preprocess,
    read_image,
)
from ddetr_data.loading import open_sources
from ddetr_data.types import Category, Detections

SHADES = np.random.default_rng(0).integers(0, 4096, (30, 40, 3))
GREY = SHADES[..., 0]
OPAQUE = np.full((30, 40, 1), 65535)
TWELVE_BITS = WhiteLevels(4095, 4095)


def png(pixels: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow writes of grey alone; rows hold differences."""
    height, width = pixels.shape[:2]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).copy()
    pixel_bytes = rows.shape[1] // width
    rows[:, pixel_bytes:] -= rows[:, :-pixel_bytes].copy()
    packed = zlib.compress(b"".join(b"\1" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def tiff(pixels: np.ndarray, order: str = "<", *, compressed: bool = False) -> bytes:
    """A TIFF of one strip in the given byte order, in the numbers of the array."""
    height, width = pixels.shape[:2]
    bands, bits = pixels.size // (height * width), pixels.dtype.itemsize * 8
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if compressed else data
    shorts = {259: 8 if compressed else 1, 262: 2 if bands == 3 else 1, 277: bands, 339: kind}
    longs = {256: width, 257: height, 278: height, 279: len(data)}
    after = 8 + 2 + 12 * (len(shorts) + len(longs) + 2) + 4
    depth = struct.pack(f"{order}{bands}H", *[bits] * bands)
    longs[273] = after + len(depth)
    entries = {tag: struct.pack(f"{order}HIHH", 3, 1, each, 0) for tag, each in shorts.items()}
    entries |= {tag: struct.pack(f"{order}HII", 4, 1, each) for tag, each in longs.items()}
    entries[258] = struct.pack(f"{order}HI", 3, bands) + (
        struct.pack(f"{order}I", after) if bands == 3 else depth + b"\0\0"
    )
    table = b"".join(struct.pack(f"{order}H", tag) + entries[tag] for tag in sorted(entries))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(entries)) + table + bytes(4) + depth + data


def by_pillow(pixels: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


DEEP_FILES = {
    "png grey": (GREY, lambda: png(GREY, 0)),
    "png colour": (SHADES, lambda: png(SHADES, 2)),
    "png grey and alpha": (GREY, lambda: png(np.dstack([GREY, OPAQUE]), 4)),
    "png colour and alpha": (SHADES, lambda: png(np.dstack([SHADES, OPAQUE]), 6)),
    "jpeg 2000": (GREY, lambda: by_pillow(GREY.astype(np.uint16), "JPEG2000")),
    "pgm": (GREY, lambda: by_pillow(GREY.astype(np.uint16), "PPM")),
    **{
        f"tiff {number} {'colour' if pixels.ndim == 3 else 'grey'} {order} {packed}": (
            pixels,
            lambda pixels=pixels, number=number, order=order, packed=packed: tiff(
                pixels.astype(number), order, compressed=packed == "packed"
            ),
        )
        for pixels, number in [
            (GREY, "u2"),
            (SHADES, "u2"),
            (GREY, "i2"),
            (GREY, "i4"),
            (GREY, "f4"),
        ]
        for order in "<>"
        for packed in ("plain", "packed")
        if not (order == ">" and packed == "packed" and number in ("i2", "i4", "f4"))  # Pillow errs
    },
}


@pytest.mark.parametrize("kind", DEEP_FILES)
def test_twelve_bits_in_sixteen_keep_their_shades(kind: str) -> None:
    """Every kind of deep image, colours too, of which Pillow drops the lower bytes."""
    # fault 33
    pixels, make = DEEP_FILES[kind]
    content = make()
    expected = np.round(pixels * (255 / 4095))
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_array_equal(np.asarray(read_image(content, white=TWELVE_BITS)), expected)
    largest = check_whole(content).largest
    assert {largest.integer, largest.floating} == {pixels.max(), None}
    with Image.open(io.BytesIO(content)) as lazily:  # a Pillow image that is not decoded yet
        np.testing.assert_array_equal(np.asarray(open_image(lazily, TWELVE_BITS)), expected)


def test_arrays_of_sixteen_bits_are_as_files() -> None:
    """Grey, and colours with and without alpha."""
    for pixels in (GREY, SHADES, np.dstack([SHADES, OPAQUE])):
        deep = pixels.astype(np.uint16)
        shown = np.asarray(open_image(deep, TWELVE_BITS))
        expected = np.round((pixels[..., :3] if pixels.ndim == 3 else pixels) * (255 / 4095))
        np.testing.assert_array_equal(shown[..., 0], expected.reshape(30, 40, -1)[..., 0])


@pytest.mark.parametrize("largest", [250, 260])
def test_the_scale_is_not_that_of_one_image(tmp_path: Path, largest: int) -> None:
    """A frame of maximum 250 and one of 260 differ as their values do."""
    # fault 33
    content = by_pillow(np.full((4, 4), largest, np.uint16), "PNG")
    shown = np.asarray(read_image(content, white=WhiteLevels(1023)))
    assert shown.max() == round(largest * 255 / 1023)
    assert np.asarray(read_image(content)).max() == round(largest * 255 / 65535)


@pytest.mark.parametrize(
    ("largest", "level"),
    [
        *[(0, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095)],
        *[(4096, 16383), (16384, 65535), (65535, 65535), (65536, 2**24 - 1), (2**30, 2**32 - 1)],
    ],
)
def test_the_level_is_the_smallest_number_of_bits_that_covers(largest: int, level: int) -> None:
    """8, 10, 12, 14 or 16 bits; 24 and 32 for files of 32. Floats begin with 1."""
    assert WhiteLevels(largest, largest).covering().integer == level
    assert WhiteLevels(None, largest).covering() == WhiteLevels(None, level if largest else 1)
    assert WhiteLevels(floating=1e12).covering().floating == 1e12


def write_set(folder: Path, images: dict[str, bytes]) -> DataSource:
    (folder / "images").mkdir(parents=True)
    for name, content in images.items():
        (folder / "images" / name).write_bytes(content)
    rows = [
        {"id": index, "file_name": name, "width": 40, "height": 30}
        for index, name in enumerate(images, 1)
    ]
    objects = [
        {"id": row["id"], "image_id": row["id"], "category_id": 1, "bbox": [2, 2, 20, 20]}
        for row in rows
    ]
    labels = {"images": rows, "annotations": objects, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    return DataSource(image_dir=folder / "images", json_file=folder / "labels.json")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("dataset_type", ["serialized", "default"])
def test_a_set_has_one_level_of_each_kind(tmp_path: Path, dataset_type) -> None:
    """From all usable images; a store keeps it, and 8-bit images have no say."""
    images = {
        "dim.png": by_pillow((GREY // 16).astype(np.uint16), "PNG"),
        "bright.png": png(SHADES, 2),
        "float.tif": tiff((GREY / 4095).astype(np.float32)),
        "plain.png": by_pillow(np.full((30, 40), 255, np.uint8), "PNG"),
        "broken.png": png(SHADES * 16, 2)[:-500],
    }
    source = write_set(tmp_path, images)
    for _ in range(2):  # read, and found in the store
        found = open_sources(
            [source], num_classes=2, corrupt_images="skip", dataset_type=dataset_type
        )
        assert len(found.images) == 4
        assert found.largest.covering() == WhiteLevels(4095, 1)


@pytest.mark.usefixtures("cache")
def test_a_set_of_eight_bits_has_no_level(tmp_path: Path) -> None:
    """There is nothing to say, and nothing that a new image could contradict."""
    source = write_set(tmp_path, {"a.png": by_pillow(np.zeros((30, 40), np.uint8), "PNG")})
    assert open_sources([source], num_classes=2).largest == WhiteLevels()


@pytest.mark.usefixtures("cache")
def test_a_brighter_image_since_is_noticed(tmp_path: Path) -> None:
    """Though its file has the size in bytes of the one that it replaces."""
    source = write_set(tmp_path, {"a.tif": tiff(GREY.astype(np.uint16))})
    assert open_sources([source], num_classes=2).largest.integer == GREY.max()
    (tmp_path / "images" / "a.tif").write_bytes(tiff((GREY * 16).astype(np.uint16)))
    assert open_sources([source], num_classes=2).largest.integer == GREY.max() * 16


class Watching(Detector):
    """Keeps what it is shown."""

    batch_size = 1
    categories = (Category(1, "cell"),)
    num_classes = 2

    def __init__(self, config: PreprocessConfig) -> None:
        self.preprocess_config = config
        self.brightest: list[int] = []

    def predict(self, images) -> list[Detections]:
        self.brightest += [
            int(np.asarray(open_image(each, self.preprocess_config.white)).max()) for each in images
        ]
        return [Detections.empty() for _ in images]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("stored", "asked", "shown"),
    [
        (4095, None, 127),  # the model's own
        (None, 8190, 64),  # the spec's, where the model has none
        (4095, 8190, 127),  # the model's wins, which is told
        (None, None, 8),  # 16 bits, by the kind of the file
    ],
)
def test_evaluation_and_inference_take_the_models_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored, asked, shown
) -> None:
    """The spec's keys count where the model says nothing."""
    content = by_pillow(np.full((30, 40), 2047, np.uint16), "PNG")
    source = write_set(tmp_path, {"a.png": content})
    dataset = DatasetConfig(
        test_data_sources=source,
        infer_data_sources=InferSource(image_dir=source.image_dir),
        num_classes=2,
        integer_white_level=asked,
    )
    told: list[str] = []
    observers = [lambda event: told.append(event.message)]
    for run, config in ((evaluate, EvaluateConfig()), (label, InferenceConfig())):
        detector = Watching(PreprocessConfig(integer_white_level=stored))
        told.clear()
        run(detector, dataset, config, tmp_path / run.__name__, observers=observers)
        assert detector.brightest == [shown]
        is_overruled = any("white is what the detector was made for" in text for text in told)
        assert is_overruled == (stored is not None and asked is not None)


def test_an_unknown_level_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the key that fixes it; what only looks on says nothing."""
    content = by_pillow(np.full((4, 4), 2.0, np.float32), "TIFF")
    with caplog.at_level(logging.WARNING, "ddetr_data"):
        read_image(content)
        assert caplog.text == ""
        for _ in range(3):
            preprocess(Image.open(io.BytesIO(content)), PreprocessConfig())
    assert caplog.text.count("dataset.float_white_level says which value is white: 1 is") <= 1


def test_values_beyond_the_level_are_white_and_those_below_zero_black() -> None:
    """As a camera shows what it cannot hold."""
    values = np.array([[-5, 0, 4095, 60_000]], np.int32)
    shown = np.asarray(open_image(Image.fromarray(values), TWELVE_BITS))
    assert shown[0, :, 0].tolist() == [0, 0, 255, 255]


def test_a_level_must_be_above_zero() -> None:
    """Nothing can be divided by it."""
    with pytest.raises(DataError, match="integer_white_level"):
        PreprocessConfig.of_file({"integer_white_level": 0}, "model.pth")
