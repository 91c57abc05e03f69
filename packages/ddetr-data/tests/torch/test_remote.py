"""Training on images of an S3 server: the batches are those of the same images on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionDataset, TrainTransform, collate

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")

SMALL = AugmentationConfig(
    scales=[32],
    train_random_resize=[32],
    train_random_crop_min=16,
    train_random_crop_max=32,
    random_resize_max_size=64,
)


@pytest.mark.parametrize("dataset_type", ["serialized", "default"])
def test_workers_read_from_s3_what_lies_on_disk(
    content: dict[str, Any],
    write_source: Callable[..., DataSource],
    s3_bucket: str,
    tmp_path: Path,
    dataset_type: Any,
) -> None:
    """Forked workers open connections of their own, after this process used one."""
    local = write_source(content)
    for path in Path(local.image_dir).iterdir():
        fsspec.filesystem("s3").pipe_file(f"{s3_bucket}/{path.name}", path.read_bytes())
    remote = DataSource(image_dir=s3_bucket, json_file=f"{s3_bucket}/labels.json")
    batches = []
    for source, workers in ((local, 0), (remote, 2)):
        loaded = open_sources(
            [source], num_classes=3, dataset_type=dataset_type, cache_dir=tmp_path
        )
        dataset = DetectionDataset(loaded, TrainTransform(SMALL))
        batches.append(list(DataLoader(dataset, 1, num_workers=workers, collate_fn=collate)))
    assert len(batches[0]) == len(batches[1]) == 2
    for expected, found in zip(*batches, strict=True):
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.targets[0]["boxes"], expected.targets[0]["boxes"])
