"""Converting on a Ray cluster gives what converting on this machine gives."""

import json
import sys

import pytest

from ddetr_data.config import ConvertConfig
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
