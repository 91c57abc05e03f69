"""A store is the same set on disk: built once, whole or not at all, one for all processes."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_data.coco import DetectionSet, ImageTable, as_table, load_sources
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.faults import DataError
from ddetr_data.loading import (
    FORMAT_VERSION,
    SeenFiles,
    StoredTable,
    default_cache_dir,
    is_store,
    open_sources,
    read_store,
    resolve_num_classes,
    store_key,
    write_store,
)

Content = dict[str, Any]
Write = Callable[..., DataSource]


@pytest.fixture
def source(content: Content, write_source: Write) -> DataSource:
    """Two faultless images."""
    return write_source(content)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder for stores."""
    return tmp_path / "cache"


def stores_in(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_serialized_and_default_are_the_same_set(
    content: Content, write_source: Write, cache: Path
) -> None:
    """Records, faults and classes do not depend on dataset_type."""
    content["annotations"][0]["bbox"] = None
    source = write_source(content)
    stored = open_sources([source], num_classes=3, cache_dir=cache)
    plain = open_sources([source], num_classes=3, dataset_type="default")
    assert isinstance(stored.images, StoredTable)
    assert isinstance(plain.images, list)
    assert stored.to_coco() == plain.to_coco()
    assert stored.categories == plain.categories
    assert dict(stored.faults) == dict(plain.faults) == {"missing_box": 1}


def test_the_second_start_verifies_no_image(source: DataSource, cache: Path) -> None:
    """A store that is there is only mapped."""
    looked_at: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        looked_at.append((done, total))

    first = open_sources([source], num_classes=None, cache_dir=cache, on_progress=note)
    assert looked_at.pop() == (2, 2)
    second = open_sources([source], num_classes=None, cache_dir=cache, on_progress=note)
    assert looked_at == []
    assert second.to_coco() == first.to_coco()
    with pytest.raises(DataError, match="num_classes of at least 3, got 2"):
        open_sources([source], num_classes=2, cache_dir=cache)


def test_what_was_left_out_is_told_at_every_start(
    content: Content, write_source: Write, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second run maps the store, and says what the first one did."""
    content["annotations"] = [content["annotations"][0] | {"bbox": None}]
    source = write_source(content)
    for _ in range(2):
        caplog.clear()
        open_sources([source], num_classes=None, cache_dir=cache)
        left_out, empty = (message.partition(" (first")[0] for message in caplog.messages)
        assert left_out.startswith("labels: bbox is absent")
        assert left_out.endswith(": 1 dropped")
        assert empty == "labels: none of the 2 images has an object"


def test_other_labels_are_another_store(source: DataSource, cache: Path) -> None:
    """A changed JSON is read again, whatever its name and date."""
    open_sources([source], num_classes=None, cache_dir=cache)
    path = Path(source.json_file[0])
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))
    changed = open_sources([source], num_classes=None, cache_dir=cache)
    assert len(changed.images[1].annotations) == 1
    assert len(stores_in(cache)) == 2


def test_the_key_is_that_of_the_contents(source: DataSource, tmp_path: Path) -> None:
    """A copy of the JSON elsewhere is the same store; another policy is another."""
    copy = tmp_path / "copy.json"
    copy.write_bytes(Path(source.json_file[0]).read_bytes())
    moved = DataSource(image_dir=source.image_dir, json_file=str(copy))
    assert store_key([source], "error") == store_key([moved], "error")
    assert store_key([source], "error") != store_key([source], "skip")
    assert store_key([source], "error") != store_key([source, source], "error")


def test_an_image_that_went_missing_is_noticed(source: DataSource, cache: Path) -> None:
    """A store does not hide that a file was removed since."""
    open_sources([source], num_classes=None, cache_dir=cache)
    (Path(source.image_dir) / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png is missing"):
        open_sources([source], num_classes=None, cache_dir=cache)


def test_a_broken_build_leaves_nothing(
    source: DataSource, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted build is simply run again."""

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_sources([source], num_classes=None, cache_dir=cache)
    assert stores_in(cache) == []
    assert len(open_sources([source], num_classes=None, cache_dir=cache).images) == 2


def test_builders_at_the_same_time_agree(source: DataSource, cache: Path) -> None:
    """Several processes or threads that start together end with one store."""
    with ThreadPoolExecutor(4) as pool:
        opened = list(
            pool.map(lambda _: open_sources([source], num_classes=None, cache_dir=cache), range(4))
        )
    assert {len(found.images) for found in opened} == {2}
    assert len(stores_in(cache)) == 1


def test_a_store_is_sent_to_workers_by_name(source: DataSource, cache: Path) -> None:
    """Pickling a set of any size gives a few hundred bytes, and the same records."""
    stored = open_sources([source], num_classes=None, cache_dir=cache)
    sent = pickle.dumps(stored.images)
    assert len(sent) < 500
    assert pickle.loads(sent)[1].labels.tolist() == stored.images[1].labels.tolist()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(len, (stored.images,)) == 2


def test_stored_columns_cannot_be_written(source: DataSource, cache: Path) -> None:
    """A worker cannot spoil the labels of the others."""
    stored = open_sources([source], num_classes=None, cache_dir=cache)
    with pytest.raises(ValueError, match="read-only"):
        stored.images[0].boxes_xywh[0] = 0


def test_a_set_without_objects_can_be_stored(
    content: Content, write_source: Write, tmp_path: Path
) -> None:
    """Empty columns are no obstacle."""
    content["annotations"] = []
    loaded = load_sources([write_source(content)], num_classes=None)
    write_store(loaded, SeenFiles.of(as_table(loaded.images)), tmp_path / "store")
    assert [len(record.annotations) for record in read_store(tmp_path / "store").images] == [0, 0]


def test_what_is_no_store_is_refused(source: DataSource, tmp_path: Path) -> None:
    """Another folder, another version and a plain list are told apart from a store."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "index.json").write_text('{"format_version": 0}')
    assert not is_store(folder)
    with pytest.raises(DataError, match=f"must be an annotation store of version {FORMAT_VERSION}"):
        read_store(folder)
    with pytest.raises(DataError, match="is no annotation store"):
        read_store(tmp_path)
    loaded = load_sources([source], num_classes=None)
    seen = SeenFiles.of(as_table(loaded.images))
    with pytest.raises(OSError, match="cannot be replaced"):
        write_store(loaded, seen, folder)
    with pytest.raises(TypeError, match="ImageTable"):
        write_store(DetectionSet([], loaded.categories, loaded.faults), seen, tmp_path / "other")


def test_the_cache_has_a_stated_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DDETR_CACHE wins over XDG_CACHE_HOME, and that over the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DDETR_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == tmp_path / ".cache" / "ddetr-data"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache_dir() == Path("/x/ddetr-data")
    monkeypatch.setenv("DDETR_CACHE", "/c")
    assert default_cache_dir() == Path("/c")


@pytest.mark.parametrize("dataset_type", ["serialized", "default"])
def test_num_classes_auto_is_the_largest_id_plus_one(
    source: DataSource, dataset_type: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """auto reads the training data; the run that follows finds the store that this leaves."""
    monkeypatch.setenv("DDETR_CACHE", str(cache))
    data = {"train_data_sources": [source], "dataset_type": dataset_type}
    assert resolve_num_classes(DatasetConfig(**data, num_classes="auto")) == 3
    assert resolve_num_classes(DatasetConfig(**data, num_classes=7)) == 7
    with pytest.raises(DataError, match="needs labelled data sources"):
        resolve_num_classes(DatasetConfig(num_classes="auto"))
    if dataset_type == "serialized":
        looked_at: list[int] = []
        stored = open_sources(
            [source], num_classes=3, on_progress=lambda done, total: looked_at.append(done)
        )
        assert (len(stored.images), looked_at) == (2, [])


def test_columns_are_told_alike_of_tables_and_lists(source: DataSource, cache: Path) -> None:
    """Sizes and sources of all images do not depend on dataset_type."""
    stored = open_sources([source, source], num_classes=None, cache_dir=cache)
    plain = open_sources([source, source], num_classes=None, dataset_type="default")
    for found in (stored, plain):
        assert found.sizes_wh.tolist() == [[40, 30]] * 4
        assert found.source_numbers.tolist() == [0, 0, 1, 1]


def test_a_table_is_a_sequence(source: DataSource) -> None:
    """Indices count from either end, slices give lists, and the end is an end."""
    table = load_sources([source], num_classes=None).images
    assert isinstance(table, ImageTable)
    assert table[-1].id == table[1].id == 2
    assert [record.id for record in table[:5]] == [1, 2]
    with pytest.raises(IndexError, match="below 2, got 2"):
        table[2]
