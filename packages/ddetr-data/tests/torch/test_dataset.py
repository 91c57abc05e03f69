"""Samples and batches: what they hold, and that only seed, epoch and index decide."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ddetr_data.coco import load_sources
from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.faults import DataError
from ddetr_data.images import PreprocessConfig
from ddetr_data.torch import Batch, DetectionDataset, Draw, EvalTransform, TrainTransform, collate

Content = dict[str, Any]
Write = Callable[..., DataSource]
SMALL = AugmentationConfig(
    scales=[32, 48],
    train_random_resize=[32, 40],
    train_random_crop_min=16,
    train_random_crop_max=32,
    random_resize_max_size=64,
)
# A fork of a process in which other tests have left threads may wait for one of them for good. The
# server that forks instead has no threads, and imports PyTorch once.
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["ddetr_data.torch"])
APART: Content = {"multiprocessing_context": FORK_SERVER}


@pytest.fixture
def source(content: Content, write_source: Write) -> DataSource:
    """Two images; in the first, the first object is a crowd."""
    content["annotations"][0]["iscrowd"] = 1
    return write_source(content)


@pytest.fixture
def dataset(source: DataSource) -> DetectionDataset:
    """The two images with small training views."""
    return DetectionDataset(load_sources([source], num_classes=None), TrainTransform(SMALL), seed=3)


def test_a_repeated_box_is_trained_once(content: Content, write_source: Write) -> None:
    """Under another id and with its class; the same box of another class stays."""
    # fault 25
    row = content["annotations"][0]
    content["annotations"] += [{**row, "id": 70}, {**row, "id": 71, "category_id": 2}]
    labelled = load_sources([write_source(content)], num_classes=None)
    transform = EvalTransform(PreprocessConfig(shortest_edge=32))
    _, target = DetectionDataset(labelled, transform)[0]
    assert target["labels"].tolist() == [1, 2, 2]


def same(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    return first[0].shape == second[0].shape and torch.equal(first[0], second[0])


def test_a_target_holds_what_a_criterion_needs(source: DataSource) -> None:
    """Boxes are fractions of the sample; sizes are height, width; the crowd is gone."""
    config = PreprocessConfig(shortest_edge=60, max_size=200)
    loaded = load_sources([source], num_classes=None)
    pixels, target = DetectionDataset(loaded, EvalTransform(config))[0]
    assert pixels.shape == (3, 60, 80)
    assert target["boxes"].tolist() == [
        [15 / 40, pytest.approx(8 / 30), 10 / 40, pytest.approx(8 / 30)]
    ]
    assert target["labels"].tolist() == [2]
    assert target["area"].tolist() == [320]
    assert target["iscrowd"].tolist() == [0]
    assert int(target["image_id"]) == 1
    assert target["orig_size"].tolist() == [30, 40]
    assert target["size"].tolist() == [60, 80]


def test_a_sample_depends_on_seed_epoch_and_index(dataset: DetectionDataset) -> None:
    """Asked again it is the same; another epoch shows another view."""
    first = dataset[0]
    assert same(first, dataset[0])
    views = []
    for epoch in range(6):
        dataset.set_epoch(epoch)
        views.append(dataset[0])
    assert same(views[0], first)
    assert not all(same(view, first) for view in views)


def test_what_is_drawn_again_is_shown_in_another_view(dataset: DetectionDataset) -> None:
    """uniform_sampler repeats small sources; each time is a view of its own, by any worker."""
    draws = [0, *(Draw(0, times) for times in range(1, 6))]
    views = [dataset[index] for index in draws]
    assert len({(*view[0].shape, float(view[0].sum())) for view in views}) > 3
    loader = DataLoader(dataset, batch_size=None, sampler=draws, num_workers=1, **APART)
    assert all(same(item, view) for item, view in zip(loader, views, strict=True))


def test_a_dataset_is_a_sequence(dataset: DetectionDataset) -> None:
    """A loop over it ends, and indices count from either end."""
    assert [int(target["image_id"]) for _, target in dataset] == [1, 2]
    assert same(dataset[-1], dataset[1])
    with pytest.raises(IndexError, match="below 2, got 2"):
        dataset[2]


def test_boxes_follow_an_image_that_is_not_of_the_size_stated(
    source: DataSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Boxes also fit images that were never verified, or changed since."""
    loaded = load_sources([source], num_classes=None)
    dataset = DetectionDataset(loaded, EvalTransform(PreprocessConfig(shortest_edge=60)))
    before = dataset[0][1]["boxes"]
    path = Path(source.image_dir) / "1.png"
    Image.open(path).resize((20, 15)).save(path)
    assert torch.allclose(dataset[0][1]["boxes"], before)
    assert "the image is a resized copy" in caplog.text


def test_workers_that_stay_see_the_new_epoch(dataset: DetectionDataset) -> None:
    """With persistent workers the samples are those of the main process."""
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True, **APART)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        assert all(same(item, dataset[i]) for i, item in enumerate(loader))


def test_every_batch_of_a_run_has_one_shape(dataset: DetectionDataset) -> None:
    """fixed_padding: epochs and images change, the shape does not."""
    canvas_hw = dataset.transform.canvas_hw
    shapes = set()
    for epoch in range(5):
        dataset.set_epoch(epoch)
        loader = DataLoader(
            dataset, batch_size=1, collate_fn=partial(collate, fixed_size_hw=canvas_hw)
        )
        shapes |= {tuple(batch.images.shape) for batch in loader}
    assert shapes == {(1, 3, *canvas_hw)}


def test_large_scale_jitter_gives_square_batches(source: DataSource) -> None:
    """fixed_random_crop: what is shown is padded to S x S."""
    transform = TrainTransform(AugmentationConfig(fixed_random_crop=64))
    dataset = DetectionDataset(load_sources([source], num_classes=None), transform)
    batch = collate([dataset[0], dataset[1]], transform.canvas_hw)
    assert batch.images.shape == (2, 3, 64, 64)


def test_a_batch_pads_and_masks() -> None:
    """Each sample stands at the top left; the mask is true on the rest."""
    items = [(torch.ones(3, 2, 4), {"a": torch.zeros(1)}), (torch.ones(3, 3, 1), {})]
    batch = collate(items)
    assert isinstance(batch, Batch)
    assert batch.images.shape == (2, 3, 3, 4)
    assert torch.equal(batch.images[:, 0] == 1, ~batch.mask)
    assert batch.targets == [items[0][1], {}]
    with pytest.raises(ValueError, match="do not fit"):
        collate(items, fixed_size_hw=(2, 4))


def test_a_missing_or_damaged_image_is_named(source: DataSource, dataset: DetectionDataset) -> None:
    """The error that leaves a worker holds the file."""
    (Path(source.image_dir) / "1.png").write_bytes(b"x")
    (Path(source.image_dir) / "2.png").unlink()
    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        dataset[0]
    with pytest.raises(FileNotFoundError, match=r"2\.png is missing"):
        dataset[1]
