"""Images of rare classes come more often, as LVIS has it; epochs and ranks stay equally long."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ddetr_data import DatasetConfig
from ddetr_data.coco import DetectionSet
from ddetr_data.faults import FaultLog
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionSampler, repeat_factors
from ddetr_data.types import Annotations, Category, ImageRecord

EPOCHS = 400  # whose mean is within 0.1 of a factor: four deviations of a fair coin's


def set_of(*images: list[int], crowds: tuple[int, ...] = ()) -> DetectionSet:
    """Images with an object for each label; those of images in crowds are crowds."""
    records = []
    for number, labels in enumerate(images):
        boxes, is_crowd = np.ones((len(labels), 4)), np.full(len(labels), number in crowds)
        objects = Annotations(boxes, np.array(labels, np.int64), is_crowd, np.ones(len(labels)))
        records.append(ImageRecord(number, Path("a"), "a", 8, 8, objects, source=number % 2))
    names = (Category(1, "common"), Category(2, "rare"), Category(5, "rarest"), Category(7, "none"))
    return DetectionSet(records, names, FaultLog())


# 16 images: common in 12 of them, rare in 4, rarest in 1, and 2 without objects.
LABELS = [[1]] * 10 + [[1, 2, 2], [1, 2], [2], [2, 5], [], []]
FACTORS = [1.0] * 10 + [2**0.5] * 3 + [8**0.5, 1.0, 1.0]  # at a threshold of 0.5


def draws(
    factors: NDArray[np.float64], epoch: int = 0, replicas: int = 1, rank: int = 0
) -> list[int]:
    sources = np.zeros(len(factors), np.int32)
    sampler = DetectionSampler(
        sources, "repeat_factor", seed=3, num_replicas=replicas, rank=rank, factors=factors
    )
    sampler.set_epoch(epoch)
    return list(sampler)


def test_factors_are_those_of_the_paper() -> None:
    """Worked by hand: sqrt(0.5 / (4/16)) and sqrt(0.5 / (1/16)), the larger one of an image."""
    found = repeat_factors(set_of(*LABELS), 0.5)
    assert np.allclose(found.images, FACTORS)
    assert found.classes == pytest.approx({"common": 1, "rare": 2**0.5, "rarest": 8**0.5})


def test_crowds_do_not_make_a_class_frequent() -> None:
    """What is not trained on is not counted."""
    found = repeat_factors(set_of(*LABELS, crowds=(10, 11, 12)), 0.5)
    assert found.classes["rare"] == pytest.approx(8**0.5)
    assert np.allclose(found.images[10:13], 1)


def test_the_effect_is_one_sentence() -> None:
    """How many classes, how often, and what an epoch becomes."""
    sentence = repeat_factors(set_of(*LABELS), 0.5).sentence()
    assert sentence == (
        "repeat_factor: 2 of 3 classes are drawn more often (1 up to 2 times, 1 up to 4 times; "
        "most of all rarest, 2.83 times); an epoch has 20 images, without it 16"
    )
    assert "repeats nothing" in repeat_factors(set_of(*LABELS), 0.001).sentence()


def test_each_image_comes_as_often_as_its_factor_says() -> None:
    """On the average of epochs; in each one, its whole number of times and at most once more."""
    factors = np.array(FACTORS)
    counts = np.zeros((EPOCHS, len(factors)))
    for epoch in range(EPOCHS):
        for index, count in Counter(draws(factors, epoch)).items():
            counts[epoch, index] = count
    filled = counts.sum() / EPOCHS - factors.sum()  # what fills up the last step
    assert np.abs(counts.mean(0) - factors).max() < 0.1 + filled / len(factors)
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.floor(factors) + 2).all()


@given(
    factors=st.lists(st.floats(1, 30), min_size=1, max_size=40),
    replicas=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_epochs_and_ranks_are_equally_long(factors: list[float], replicas: int, epoch: int) -> None:
    """And side by side ranks draw what one would, then what fills up the last step."""
    array = np.array(factors)
    alone = draws(array, epoch)
    assert len(alone) == len(draws(array))
    assert abs(len(alone) - array.sum()) <= 1
    assert set(alone) == set(range(len(factors)))
    ranks = [draws(array, epoch, replicas, rank) for rank in range(replicas)]
    assert {len(each) for each in ranks} == {-(-len(alone) // replicas)}
    together = [index for step in zip(*ranks, strict=True) for index in step]
    assert together[: len(alone)] == alone


def test_an_order_is_that_of_its_seed_and_epoch_and_goes_on_where_it_was_cut() -> None:
    """The same again, another in the next epoch; a resumed sampler draws the rest."""
    factors = np.array(FACTORS)
    assert draws(factors) == draws(factors)
    assert draws(factors) != draws(factors, epoch=1)
    sampler = DetectionSampler(
        np.zeros(16, np.int32), "repeat_factor", seed=3, factors=factors, num_replicas=2
    )
    sampler.load_state_dict(sampler.state_dict(batches_done=2, batch_size=3))
    assert list(sampler) == draws(factors, replicas=2)[6:]


def test_an_image_that_comes_again_is_another_view() -> None:
    """Each draw says which time it is."""
    times = [(int(i), getattr(i, "repetition", 0)) for i in draws(np.full(3, 2.0))]
    assert sorted(times) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_store_and_several_sources_draw_alike(write_source, content, tmp_path) -> None:
    """A plain list and memory-mapped labels of the same sources have the same factors."""
    for row in content["annotations"][2:]:
        row["category_id"] = 1  # class 2 is in one of two images
    sources = [write_source(content, name) for name in ("a", "b")]
    found = []
    for kind in ("default", "serialized"):
        opened = open_sources(
            sources, num_classes=3, dataset_type=kind, cache_dir=tmp_path / "cache"
        )
        plain = replace(opened, images=list(opened.images))
        found += [repeat_factors(each, 1).images.tolist() for each in (opened, plain)]
        sampler = DetectionSampler.over(opened, "repeat_factor", repeat_threshold=1)
        assert len(sampler) == 5
    assert found == [pytest.approx([2**0.5, 1, 2**0.5, 1])] * 4


def test_it_acts_with_both_kinds_of_sets() -> None:
    """Other than those samplers of which TAO's documentation says that they do not."""
    for kind in ("default", "serialized"):
        config = DatasetConfig(train_sampler="repeat_factor", dataset_type=kind)
        assert config.sampler_in_effect == "repeat_factor"


def test_factors_and_their_sampler_go_together() -> None:
    """One without the other is a mistake, and so are others than of the images, or below 1."""
    sources = np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="it needs them, got repeat_factor"):
        DetectionSampler(sources, "repeat_factor")
    with pytest.raises(ValueError, match="factors go with"):
        DetectionSampler(sources, factors=np.ones(3))
    for factors in (np.ones(2), np.array([1, 0.5, 1])):
        with pytest.raises(ValueError, match="at least 1 for each of 3"):
            DetectionSampler(sources, "repeat_factor", factors=factors)
