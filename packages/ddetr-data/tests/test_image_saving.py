"""Images are written in the format of their name, and one that cannot be is told by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, InferenceSummary, label
from ddetr_data.faults import DataError
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
    assert read_image(tmp_path / "out" / "images_annotated" / "a.png").size == IMAGE.size


def test_an_image_that_no_file_can_hold_does_not_end_a_run(tmp_path: Path, caplog) -> None:
    """JPEG ends at 65500 pixels a side: the image's labels are written, its copy is told."""
    # fault 31
    (tmp_path / "in").mkdir()
    Image.new("L", (66_000, 4)).save(tmp_path / "in" / "a.jpg", "PNG")
    IMAGE.save(tmp_path / "in" / "b.png")
    summary = label_all(tmp_path / "in", tmp_path / "out")
    assert summary.images == 2
    assert summary.unwritten == (tmp_path / "out" / "images_annotated" / "a.jpg",)
    assert (tmp_path / "out" / "labels" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "out" / "images_annotated").iterdir()] == ["b.png"]
    assert "a.jpg cannot be written as JPEG" in caplog.text


MODES = {
    **dict.fromkeys(("1", "L", "P", "RGB", "RGBA", "LA", "I;16"), ("png", "a.png")),
    "CMYK": ("jpg", "a.jpg"),
    "YCbCr": ("jpeg", "a.jpeg"),
    "F": ("tif", "a.png"),
    "I": ("tiff", "a.png"),
    "LAB": ("tif", "a.png"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_copy_of_any_mode_is_whole(tmp_path: Path, mode: str) -> None:
    """Alpha, palettes, inks and depth are brought to RGB."""
    # fault 31
    ending, copy = MODES[mode]
    (tmp_path / "in").mkdir()
    source = IMAGE if mode != "LAB" else Image.frombytes("LAB", IMAGE.size, IMAGE.tobytes())
    grey = IMAGE.convert("L") if mode in ("I;16", "F", "I", "LA") else source
    grey.convert(mode).save(tmp_path / "in" / f"a.{ending}")
    IMAGE.save(tmp_path / "in" / "b.bmp")
    summary = label_all(tmp_path / "in", tmp_path / "out")
    copies = sorted(path.name for path in (tmp_path / "out" / "images_annotated").iterdir())
    assert copies == [copy, "b.png"]
    assert (summary.unreadable, summary.unwritten) == ((), ())
    for name in copies:
        with Image.open(tmp_path / "out" / "images_annotated" / name) as image:
            assert (image.size, image.mode) == (IMAGE.size, "RGB")
            assert image.format == ("JPEG" if name.startswith("a.j") else "PNG")


def test_copies_are_jpegs_or_pngs_under_names_of_their_own(tmp_path: Path) -> None:
    """Where two would have one name, the old ending is kept before the new one."""
    # fault 31
    names = [f"{stem}{ending}" for ending in sorted(IMAGE_ENDINGS) for stem in ("same", ending[1:])]
    names += [
        "B.JPG",
        "C.TIF",
        "same.tif.png",
        "folder.png/in.png",
        "folder.gif",
        "x" * 251 + ".tif",
    ]
    for name in names:
        save_image(IMAGE, tmp_path / "in" / name)
    summary = label_all(tmp_path / "in", tmp_path / "out")
    assert summary.images == len(names)
    folder = tmp_path / "out" / "images_annotated"
    copies = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()]
    assert len(copies) == len(names)
    assert {Path(name).suffix.lower() for name in copies} <= {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng")
    }
    kept = ["same.png", "same.jpg", "same.tif.png", "B.JPG", "C.png", "webp.png", "mpo.jpg"]
    assert {*kept, "same.webp.png", "folder.gif.png"} <= set(copies)
    for name in copies:
        assert read_image(folder / name).size == IMAGE.size


@pytest.mark.parametrize("what", ["labels/b.txt", "images_annotated/b.png"])
def test_a_result_that_cannot_be_written_is_counted(tmp_path: Path, caplog, what: str) -> None:
    """A folder that has its name stands for what the rights forbid; the other files are written."""
    # fault 31
    for name in ("a.png", "b.png", "c.png"):
        save_image(IMAGE, tmp_path / "in" / name)
    (tmp_path / "out" / what / "inside").mkdir(parents=True)
    summary = label_all(tmp_path / "in", tmp_path / "out")
    assert summary.unwritten == (tmp_path / "out" / what,)
    assert summary.figures["unwritten"] == 1
    assert f"{what} cannot be written" in caplog.text
    written = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]
    assert len(written) == 5


def test_a_run_of_which_nothing_is_written_is_no_success(tmp_path: Path) -> None:
    """Files stand where both folders of results should be."""
    save_image(IMAGE, tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    for name in ("labels", "images_annotated"):
        (tmp_path / "out" / name).touch()
    with pytest.raises(DataError, match=r"not one of 2 results can be written, first .*a\.txt"):
        label_all(tmp_path / "in", tmp_path / "out")


def test_a_full_disk_ends_the_run(tmp_path: Path, largest_file) -> None:
    """It would fail at every image."""
    save_image(IMAGE, tmp_path / "in" / "a.png")
    with largest_file(10), pytest.raises(OSError, match=r"File too large: '.*a\.png'"):
        label_all(tmp_path / "in", tmp_path / "out")


def test_a_disk_without_room_is_no_fault_of_one_image(tmp_path: Path, largest_file) -> None:
    """It would fail at the next one too, so the error is the disk's."""
    with largest_file(10), pytest.raises(OSError, match=r"File too large: '.*a\.png'"):
        save_image(IMAGE, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_kind_is_refused(tmp_path: Path) -> None:
    """Nothing says how to write it."""
    with pytest.raises(UnwritableImageError, match=r"a\.txt must have the ending"):
        save_image(IMAGE, tmp_path / "a.txt")
