"""Images are written in the format of their name, and one that cannot be is told by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, InferenceSummary, label
from ddetr_data.images import (
    IMAGE_ENDINGS,
    UnwritableImageError,
    read_image,
    save_image,
)
from ddetr_data.types import Category, Detections

IMAGE = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))).convert("RGB")
FEW_COLORS = 12  # of 255: what a GIF's palette and a JPEG's quality cost


class StubDetector(Detector):
    """Nothing in any image."""

    categories = (Category(1, "bag"),)
    batch_size = 4

    def predict(self, images) -> list[Detections]:
        return [Detections.empty() for _ in images]


def label_all(folder: Path, results: Path) -> InferenceSummary:
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=str(folder)))
    return label(StubDetector(), dataset, InferenceConfig(), results)


@pytest.mark.parametrize("ending", sorted(IMAGE_ENDINGS))
def test_every_kind_is_written_and_read_again(tmp_path: Path, ending: str) -> None:
    """Those that lose something lose little."""
    save_image(IMAGE, tmp_path / "deep" / f"a{ending}")
    again = read_image(tmp_path / "deep" / f"a{ending}")
    difference = np.asarray(again).astype(int) - np.asarray(IMAGE)
    assert np.abs(difference).mean() < FEW_COLORS
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [f"a{ending}"]


@pytest.mark.parametrize("compression", ["tiff_lzw", "group4", "jpeg", "packbits"])
def test_a_compressed_tiff_is_annotated(tmp_path: Path, compression: str) -> None:
    """Its compression, that of a fax for one, need not be one of the copy."""
    mode = "1" if compression == "group4" else "RGB"
    (tmp_path / "in").mkdir()
    IMAGE.convert(mode).save(tmp_path / "in" / "a.tif", compression=compression)
    label_all(tmp_path / "in", tmp_path / "out")
    assert read_image(tmp_path / "out" / "images_annotated" / "a.tif").size == IMAGE.size


def test_an_image_that_no_file_can_hold_does_not_end_a_run(tmp_path: Path, caplog) -> None:
    """WebP ends at 16383 pixels a side: the image's labels are written, its copy is told."""
    (tmp_path / "in").mkdir()
    Image.new("L", (20_000, 4)).save(tmp_path / "in" / "a.webp", "PNG")
    IMAGE.save(tmp_path / "in" / "b.png")
    summary = label_all(tmp_path / "in", tmp_path / "out")
    assert summary.images == 2
    assert (tmp_path / "out" / "labels" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "out" / "images_annotated").iterdir()] == ["b.png"]
    assert "a.webp cannot be written as WEBP" in caplog.text


def test_a_disk_without_room_is_no_fault_of_one_image(tmp_path: Path, largest_file) -> None:
    """It would fail at the next one too, so the error is the disk's."""
    with largest_file(10), pytest.raises(OSError, match=r"File too large: '.*a\.png'"):
        save_image(IMAGE, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_kind_is_refused(tmp_path: Path) -> None:
    """Nothing says how to write it."""
    with pytest.raises(UnwritableImageError, match=r"a\.txt must have the ending"):
        save_image(IMAGE, tmp_path / "a.txt")
