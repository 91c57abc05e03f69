"""Converting on a Ray cluster gives what converting on this machine gives."""

import json
import platform
import sys
import types

import pytest

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.synthetic import SHAPES, make_dataset


@pytest.fixture
def options(tmp_path):
    """A synthetic set of nine images, to be read in chunks of one."""
    make_dataset(tmp_path, num_images={"train": 9}, image_size_hw=(48, 64))
    (tmp_path / "map.json").write_text(json.dumps({shape.name: shape.name for shape in SHAPES}))
    return {
        "input_source": tmp_path,
        "image_dir_name": "images/train",
        "label_dir_name": "kitti/train/label_2",
        "mapping_path": tmp_path / "map.json",
        "num_shards": 3,
    }


@pytest.mark.slow
def test_ray_output_is_identical(tmp_path, options, monkeypatch):
    """Two Ray workers write the same bytes as one process."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    convert(ConvertConfig(**options, results_dir=tmp_path / "local", workers=1))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20)
    try:
        convert(
            ConvertConfig(**options, results_dir=tmp_path / "ray", executor="ray"), images_a_chunk=1
        )
        assert ray.is_initialized()  # a cluster that was there stays
    finally:
        ray.shutdown()
    local, on_ray = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("local", "ray")
    )
    assert local == on_ray
    assert len(local) == 5


def test_missing_ray_is_said(tmp_path, options, monkeypatch):
    """Without Ray the extra to install is named, and nothing is written."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"ddetr-data\[ray\]"):
        convert(ConvertConfig(**options, results_dir=tmp_path / "out", executor="ray"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def cluster(monkeypatch):
    """A stand-in for Ray whose machine does its work with some folders out of sight."""
    ray, hidden = types.ModuleType("ray"), []

    class TaskError(Exception):
        def __init__(self, cause):
            super().__init__("a long story of Ray's")
            self.cause = cause

    class Task:
        def __init__(self, function):
            self._function = function

        def remote(self, *arguments):
            return lambda: self._function(*arguments)

    def get(pending):
        for folder in hidden:
            folder.rename(folder.with_name("elsewhere"))
        try:
            return pending()
        except Exception as error:
            raise TaskError(error) from error
        finally:
            for folder in hidden:
                folder.with_name("elsewhere").rename(folder)

    ray.is_initialized = lambda: True
    ray.put = lambda value: value
    ray.remote, ray.get = Task, get
    monkeypatch.setitem(sys.modules, "ray", ray)
    return hidden


def test_machines_that_see_everything_give_what_one_gives(tmp_path, options, cluster):
    """The reader is another, the files are the same."""
    for name, executor in (("local", "local"), ("ray", "ray")):
        config = ConvertConfig(**options, results_dir=tmp_path / name, executor=executor, workers=1)
        convert(config, images_a_chunk=2)
    local, on_ray = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("local", "ray")
    )
    assert local == on_ray


@pytest.mark.parametrize("name", ["images/train", "kitti/train/label_2"])
def test_a_machine_without_the_folder_is_named(tmp_path, options, cluster, name):
    """Node and path in one sentence, no image dropped, nothing written."""
    # fault 59
    cluster.append(tmp_path / name)
    config = ConvertConfig(**options, results_dir=tmp_path / "out", executor="ray")
    with pytest.raises(DataError) as caught:
        convert(config, images_a_chunk=2)
    assert f"node {platform.node()} does not see {tmp_path / name}" in str(caught.value)
    assert "Ray" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_image_that_no_machine_can_read_is_dropped_as_ever(tmp_path, options, cluster):
    """A damaged file is seen by all of them."""
    first = sorted((tmp_path / "images" / "train").iterdir())[0]
    first.write_bytes(b"none")
    config = ConvertConfig(**options, results_dir=tmp_path / "out", executor="ray")
    assert convert(config, images_a_chunk=2).images == 8
