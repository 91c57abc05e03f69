"""Data behind URLs: in this process's memory, and on an S3 server of this machine."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.check import check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.detection import Detector, add_detections
from ddetr_data.faults import DataError
from ddetr_data.images import find_images, open_image
from ddetr_data.loading import open_sources
from ddetr_data.locations import RemoteFile, exists, is_folder, is_url, join
from ddetr_data.scoring import CocoScorer
from ddetr_data.types import Detections

Content = dict[str, Any]
Write = Callable[..., DataSource]

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


BUCKETS = itertools.count(1)


@pytest.fixture(params=["memory", "s3", "chain"])
def base(request: pytest.FixtureRequest) -> str:
    """A URL below which nothing is yet."""
    bucket = f"bucket-{next(BUCKETS)}"
    if request.param != "s3":
        return f"{'simplecache::' if request.param == 'chain' else ''}memory://{bucket}"
    url: str = request.getfixturevalue("s3_bucket")
    return url


def upload(local: DataSource, base: str) -> DataSource:
    """Put a local source's folder behind a URL."""
    for path in Path(local.image_dir).iterdir():
        put(base, f"set/{path.name}", path.read_bytes())
    return DataSource(image_dir=f"{base}/set", json_file=f"{base}/set/labels.json")


def put(base: str, name: str, content: bytes) -> None:
    filesystem, root = fsspec.core.url_to_fs(base.rpartition("::")[2])
    filesystem.pipe_file(f"{root}/{name}", content)


def test_a_set_behind_a_url_loads_like_a_local_one(
    base: str, content: Content, write_source: Write, tmp_path: Path
) -> None:
    """Labels, sizes, pixels and the store: the same, whatever way it is kept."""
    local = write_source(content)
    remote = upload(local, base)
    expected = open_sources([local], num_classes=3, cache_dir=tmp_path)
    found = open_sources([remote], num_classes=3, cache_dir=tmp_path)
    assert found.to_coco() == expected.to_coco()
    for ours, theirs in zip(found.images, expected.images, strict=True):
        assert np.array_equal(open_image(ours.path), open_image(theirs.path))
    again = open_sources([remote], num_classes=3, cache_dir=tmp_path)
    assert again.images.folder == found.images.folder  # type: ignore[attr-defined]
    plain = open_sources([remote], num_classes=3, dataset_type="default")
    assert plain.to_coco() == expected.to_coco()


@pytest.mark.parametrize("json_file", ["set", "set/", "set/*.json", "set/l*.js*", "**/labels.json"])
def test_json_is_found_by_file_folder_and_glob(
    base: str, content: Content, write_source: Write, json_file: str
) -> None:
    """As on this machine."""
    remote = upload(write_source(content), base)
    source = DataSource(image_dir=remote.image_dir + "/", json_file=f"{base}/{json_file}")
    assert len(load_sources([source], num_classes=None).images) == 2


def test_local_labels_may_name_remote_images(
    base: str, content: Content, write_source: Write
) -> None:
    """Folder and JSON need not lie in the same folder; gzip is mended as ever."""
    local = write_source(content)
    remote = upload(local, base)
    put(base, "set/packed.json.gz", gzip.compress(json.dumps(content).encode()))
    mixed = DataSource(image_dir=remote.image_dir, json_file=local.json_file)
    assert load_sources([mixed], num_classes=None).images[0].path == RemoteFile(f"{base}/set/1.png")
    packed = DataSource(image_dir=local.image_dir, json_file=f"{base}/set/packed.json.gz")
    assert load_sources([packed], num_classes=None).faults["compressed_json"] == 1


def test_a_check_names_faults_behind_urls(base: str, content: Content, write_source: Write) -> None:
    """Missing, damaged, empty and double images, each by its URL."""
    for number in (3, 4, 5):
        content["images"].append({"id": number, "file_name": f"{number}.png"})
        content["images"][-1] |= {"width": 40, "height": 30}
    local = write_source(content)
    good = (Path(local.image_dir) / "1.png").read_bytes()
    (Path(local.image_dir) / "3.png").unlink()
    (Path(local.image_dir) / "4.png").write_bytes(good[:200])
    (Path(local.image_dir) / "5.png").write_bytes(b"")
    (Path(local.image_dir) / "2.png").write_bytes(good)
    report = check_dataset({"train": [upload(local, base)]})
    assert report.counts["missing_image"] == 1
    assert report.counts["unreadable_image"] == 2
    assert report.counts["same_image"] == 1
    locations = [location for found in report.findings for location in found.locations]
    assert any(f"{base}/set/5.png is empty" in location for location in locations)
    assert report == check_dataset({"train": [upload(local, base)]})


def test_corrupt_images_behind_urls_follow_the_policy(
    base: str, content: Content, write_source: Write, tmp_path: Path
) -> None:
    """error names them before a run, skip counts them."""
    local = write_source(content)
    (Path(local.image_dir) / "2.png").write_bytes(b"no image")
    remote = upload(local, base)
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used: .*set/2\.png"):
        open_sources([remote], num_classes=3, cache_dir=tmp_path)
    loaded = open_sources([remote], num_classes=3, cache_dir=tmp_path, corrupt_images="skip")
    assert (len(loaded.images), loaded.faults["unreadable_image"]) == (1, 1)


def test_a_detector_is_scored_on_remote_images(
    base: str, content: Content, write_source: Write
) -> None:
    """What a detector is given opens like a path."""
    loaded = load_sources([upload(write_source(content), base)], num_classes=None)

    class Sizes(Detector):
        batch_size = 2
        categories = loaded.categories
        seen: list[tuple[int, int]] = []  # noqa: RUF012

        def predict(self, images: Any) -> list[Detections]:
            self.seen += [open_image(image).size for image in images]
            return [Detections.empty() for _ in images]

    scorer = CocoScorer(loaded)
    add_detections(scorer, Sizes(), loaded.images)
    scores = scorer.score()
    assert scores.overall["AP"] == 0
    assert Sizes.seen == [(40, 30), (40, 30)]


def test_labels_behind_a_url_are_converted_to_files(
    base: str, content: Content, write_source: Write, tmp_path: Path
) -> None:
    """COCO may come from anywhere; folders of label files must be on this machine."""
    remote = upload(write_source(content), base)
    options: dict[str, Any] = {"input_source": remote.json_file[0], "results_dir": tmp_path / "out"}
    convert(ConvertConfig(format="coco_to_yolo", data_root=remote.image_dir, **options))
    assert len((tmp_path / "out/labels/1.txt").read_text().splitlines()) == 2
    with pytest.raises(DataError, match=r"input_source .* is a URL"):
        convert(ConvertConfig(**options))
    with pytest.raises(DataError, match=r"results_dir .* is a URL"):
        convert(ConvertConfig(input_source=tmp_path, results_dir=f"{base}/out"))


def test_what_is_not_there_is_said(base: str, content: Content, write_source: Write) -> None:
    """A missing folder, file and glob, each by its URL; a check goes on."""
    upload(write_source(content), base)
    with pytest.raises(FileNotFoundError, match=r"image_dir must be a folder, .*nowhere"):
        load_sources([DataSource(image_dir=f"{base}/nowhere", json_file="a")], num_classes=None)
    missing = DataSource(image_dir=f"{base}/set", json_file=f"{base}/no/*.json")
    with pytest.raises(FileNotFoundError, match=r"no/\*\.json gives none"):
        load_sources([missing], num_classes=None)
    gone = DataSource(image_dir=f"{base}/nowhere", json_file=f"{base}/set/labels.json")
    assert {"missing_folder": 1, "unusable_json": 1}.items() <= check_dataset(
        {"a": [missing], "b": [gone]}
    ).counts.items()
    assert not exists(join(f"{base}/set", "9.png"))


def test_missing_images_send_a_store_to_be_built_anew(
    content: Content, write_source: Write, tmp_path: Path
) -> None:
    """A remote image that went away is found at the next start."""
    memory = fsspec.filesystem("memory")
    remote = upload(write_source(content), "memory://away")
    open_sources([remote], num_classes=3, cache_dir=tmp_path)
    memory.rm("/away/set/2.png")
    with pytest.raises(DataError, match="1 of 2 images"):
        open_sources([remote], num_classes=3, cache_dir=tmp_path)


def test_a_remote_image_of_another_size_is_noticed(
    base: str, content: Content, write_source: Write, tmp_path: Path
) -> None:
    """Boxes follow an image that was replaced by another since the store was built."""
    base = base.rpartition("::")[2]  # a cache before the server keeps what it has read
    source = write_source(content)
    remote = upload(source, base)
    open_sources([remote], num_classes=3, cache_dir=tmp_path)
    smaller = Path(source.image_dir) / "2.png"
    Image.open(smaller).resize((20, 15)).save(smaller)
    upload(source, base)
    again = open_sources([remote], num_classes=3, cache_dir=tmp_path)
    assert again.images[1].boxes_xywh[0].tolist() == [2.5, 2.0, 5.0, 4.0]


def test_images_to_detect_in_must_be_on_this_machine() -> None:
    """inference keeps results beside relative paths, which a URL has none of."""
    with pytest.raises(DataError, match="s3://a is a URL"):
        find_images("s3://a")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsspec the sentence says what to install, and a check reports it."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    source = DataSource(image_dir="memory://a", json_file="memory://a/b.json")
    with pytest.raises(DataError, match=r"pip install 'ddetr-data\[remote\]'"):
        load_sources([source], num_classes=None)
    assert check_dataset({"train": [source]}).exit_status == 2


def test_an_unknown_protocol_is_said() -> None:
    """A slip in the URL is the caller's mistake."""
    with pytest.raises(DataError, match=r"nowhere://a is no URL that can be read"):
        is_folder("nowhere://a")


def test_an_unreachable_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system's own error becomes a sentence with the URL."""
    memory = fsspec.filesystem("memory")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no route")

    for question in ("isdir", "cat_file"):
        monkeypatch.setattr(type(memory), question, fail)
    with pytest.raises(DataError, match="memory://a cannot be reached: no route"):
        is_folder("memory://a")
    with pytest.raises(DataError, match="memory://a cannot be read: no route"):
        RemoteFile("memory://a").read_bytes()


def test_paths_of_this_machine_are_no_urls() -> None:
    """Only a protocol makes one; local files stay plain paths."""
    for path in ("a/b", "/a:b/c", "C:\\a", "s3:/a", "http"):
        assert not is_url(path)
        assert join(path, "x") == Path(path, "x")
    assert is_url("s3://a/b")
    assert is_url("filecache::s3://a")
    assert join("/a", os.sep + "b") == Path("/b")


def test_a_name_that_starts_at_its_own_folder_is_the_same_file_behind_a_url() -> None:
    """Local disks read ./a.jpg as a.jpg, object stores do not."""
    for name in ("a/b.jpg", "./a/b.jpg", "a/./b.jpg", "././a/././b.jpg"):
        assert join("s3://x/y/", name) == RemoteFile("s3://x/y/a/b.jpg")
    for name in ("a./b.jpg", ".a/b.jpg", "../b.jpg", "a//b.jpg"):
        assert join("s3://x/y", name) == RemoteFile(f"s3://x/y/{name}")
