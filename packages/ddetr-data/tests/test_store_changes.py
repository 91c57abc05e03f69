"""A store is used again only while it is whole and its images are what they were."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DataSource
from ddetr_data.faults import DataError
from ddetr_data.loading import open_sources

Content = dict[str, Any]
Write = Callable[..., DataSource]


@pytest.fixture
def source(content: Content, write_source: Write) -> DataSource:
    """Two faultless images of 40 x 30 pixels."""
    return write_source(content)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stores lie where the environment says."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start(source: DataSource, **options: Any) -> Any:
    return open_sources([source], num_classes=None, **options)


def image(source: DataSource, name: str) -> Path:
    return Path(source.image_dir) / name


def store_in(cache: Path) -> Path:
    (index,) = cache.glob("*/index.json")
    return index.parent


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("name", ["boxes_xywh.npy", "names.npy", "file_sizes.npy", "index.json"])
@pytest.mark.parametrize("spoil", [cut, flip, lambda data: b"", lambda data: None])
def test_a_damaged_store_is_built_anew(
    source: DataSource, cache: Path, name: str, spoil: Callable[[bytes], bytes | None],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Cut off, changed by one byte, emptied or removed: what is used is what the JSON says."""
    expected = start(source).to_coco()
    column = store_in(cache) / name
    spoiled = spoil(column.read_bytes())
    column.unlink()
    if spoiled is not None:
        column.write_bytes(spoiled)
    assert start(source).to_coco() == expected
    assert "labels are read anew" in caplog.text
    caplog.clear()
    assert start(source).to_coco() == expected
    assert not caplog.text


def test_an_image_of_another_size_since_is_noticed(source: DataSource) -> None:
    """Boxes follow an image that was replaced by a smaller one after the store was built."""
    start(source)
    Image.open(image(source, "1.png")).resize((20, 15)).save(image(source, "1.png"))
    again = start(source)
    assert (again.images[0].width, again.images[0].height) == (20, 15)
    assert again.images[0].boxes_xywh[0].tolist() == [2.5, 2.0, 5.0, 4.0]


@pytest.mark.parametrize("spoil", [cut, flip])
def test_an_image_damaged_since_stops_a_run_before_it_starts(
    source: DataSource, spoil: Callable[[bytes], bytes]
) -> None:
    """Also where the damage leaves the file's size as it was."""
    start(source)
    damaged = spoil(image(source, "2.png").read_bytes())
    image(source, "2.png").write_bytes(damaged)
    later = time.time() + 2
    os.utime(image(source, "2.png"), (later, later))
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        start(source)


def test_an_image_that_was_left_out_and_mended_comes_back(source: DataSource) -> None:
    """skip leaves out what is unusable now, not what was once."""
    whole = image(source, "2.png").read_bytes()
    image(source, "2.png").write_bytes(cut(whole))
    shutil.move(image(source, "1.png"), image(source, "away.png"))
    with pytest.raises(DataError, match="none of the 2"):
        start(source, corrupt_images="skip")
    shutil.move(image(source, "away.png"), image(source, "1.png"))
    assert [record.id for record in start(source, corrupt_images="skip").images] == [1]
    image(source, "2.png").write_bytes(whole)
    assert [record.id for record in start(source, corrupt_images="skip").images] == [1, 2]


def test_a_copy_of_the_images_is_looked_into_once(source: DataSource) -> None:
    """A later time alone is no change: nothing is verified, and the next start opens no image."""
    start(source)
    now = time.time()
    for name in ("1.png", "2.png"):
        os.utime(image(source, name), (now, now))
    verified: list[int] = []
    assert len(start(source, on_progress=lambda done, total: verified.append(done)).images) == 2
    assert verified == []
    path = image(source, "1.png")
    path.write_bytes(flip(path.read_bytes()))  # which is seen by whoever opens it
    os.utime(path, (now, now))
    assert len(start(source).images) == 2


def test_a_store_does_not_depend_on_the_folder_it_was_built_in(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """A relative image_dir means the same images from everywhere."""
    monkeypatch.chdir(tmp_path)
    relative = DataSource(image_dir="a", json_file=source.json_file)
    start(relative)
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "a", other / "a")
    monkeypatch.chdir(other)
    assert start(source).images[0].path == tmp_path / "a" / "1.png"
    assert store_in(cache)


def build_and_die(source: DataSource) -> None:
    """Be killed between two columns."""
    save, saved = np.save, []

    def save_one(path: Path, column: np.ndarray) -> None:
        if saved:
            os.kill(os.getpid(), signal.SIGKILL)
        saved.append(path)
        save(path, column)

    np.save = save_one
    start(source)


def test_a_killed_build_leaves_nothing_behind(source: DataSource, cache: Path) -> None:
    """The next start finds no lock held, builds the store, and removes what lay there."""
    process = multiprocessing.get_context("fork").Process(target=build_and_die, args=(source,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path for path in cache.iterdir() if path.is_dir()]
    assert len(start(source).images) == 2
    assert [path for path in cache.iterdir() if path.is_dir()] == [store_in(cache)]


def test_a_disk_that_is_full_is_said_with_the_way_out(
    source: DataSource, cache: Path, largest_file
) -> None:
    """The error names the folder and what to do, and nothing half-written stays."""
    with (
        largest_file(100),
        pytest.raises(OSError, match=r"File too large.*DDETR_CACHE.*dataset_type=default") as told,
    ):
        start(source)
    assert str(cache) in str(told.value)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(
    source: DataSource, cache: Path
) -> None:
    """A file of the folder's name stands for whatever forbids writing."""
    cache.write_text("")
    with pytest.raises(OSError, match=r"cannot be kept on disk.*environment variable DDETR_CACHE"):
        start(source)
    assert len(start(source, dataset_type="default").images) == 2


def test_a_store_that_is_there_needs_no_writing(source: DataSource, cache: Path) -> None:
    """A cache folder that was filled before may be read-only: no name in it and no time changes."""
    start(source)
    before = {path: path.stat().st_mtime_ns for path in (cache, *cache.rglob("*"))}
    assert len(start(source).images) == 2
    assert {path: path.stat().st_mtime_ns for path in (cache, *cache.rglob("*"))} == before
