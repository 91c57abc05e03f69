"""Draws: which, how often, equally many on every rank, and where a run was cut."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ddetr_data.torch import DetectionSampler, Draw, SamplerName

NAMES: tuple[SamplerName, ...] = ("default_sampler", "uniform_sampler", "non_uniform_sampler")
UNEVEN = np.repeat([0, 1, 2], [80, 11, 9]).astype(np.int32)


def ranks(
    name: SamplerName, sources: NDArray[np.int32] = UNEVEN, replicas: int = 3, epoch: int = 0
) -> list[list[int]]:
    draws = []
    for rank in range(replicas):
        sampler = DetectionSampler(sources, name, seed=5, num_replicas=replicas, rank=rank)
        sampler.set_epoch(epoch)
        draws.append(list(sampler))
        assert len(draws[-1]) == len(sampler)
    return draws


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replicas", [1, 2, 3, 7, 120])
def test_every_rank_draws_equally_many(name: SamplerName, replicas: int) -> None:
    """No rank waits for another, also when there are more ranks than images."""
    assert {len(draws) for draws in ranks(name, replicas=replicas)} == {-(-100 // replicas)}


@pytest.mark.parametrize("name", NAMES)
def test_an_order_is_that_of_its_seed_and_epoch(name: SamplerName) -> None:
    """The same again, another in the next epoch."""
    assert ranks(name) == ranks(name)
    assert ranks(name) != ranks(name, epoch=1)


def test_the_default_draws_every_image_once() -> None:
    """Ranks divide the images without overlap, but for the fill of the last step."""
    drawn = Counter(index for draws in ranks("default_sampler") for index in draws)
    assert set(drawn) == set(range(100))
    assert sum(drawn.values()) == 102


@pytest.mark.parametrize("name", ["default_sampler", "uniform_sampler"])
def test_the_order_is_that_of_one_rank(name: SamplerName) -> None:
    """Ranks side by side draw what one would, and then what fills up the last step."""
    # fault 18
    (alone,) = ranks(name, replicas=1)
    for replicas in (2, 3, 7, 120):
        together = [
            index for step in zip(*ranks(name, replicas=replicas), strict=True) for index in step
        ]
        assert together[: len(alone)] == alone


def test_uniform_draws_every_source_equally_often() -> None:
    """Small sources are repeated, each image about as often as its neighbours."""
    drawn = Counter(index for draws in ranks("uniform_sampler") for index in draws)
    per_source = Counter(int(UNEVEN[index]) for index in drawn.elements())
    assert per_source == {0: 34, 1: 34, 2: 34}
    small = [drawn[index] for index in range(80, 91)]
    assert max(small) - min(small) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replicas", [1, 3, 120])
def test_a_draw_knows_how_often_it_was_drawn_before(name: SamplerName, replicas: int) -> None:
    """Over all ranks no two draws of an epoch are the same image for the same time."""
    drawn = [index for draws in ranks(name, replicas=replicas) for index in draws]
    times = [(int(index), getattr(index, "repetition", 0)) for index in drawn]
    assert len(set(times)) == len(times)
    counts = Counter(drawn)
    assert {index: max(t for i, t in times if i == index) + 1 for index in counts} == counts


def test_a_draw_is_an_index_that_survives_a_queue() -> None:
    """Workers get what the sampler gave, and other datasets see a number."""
    sent = pickle.loads(pickle.dumps(Draw(7, 2)))
    assert (sent, sent.repetition, [*range(9)][sent]) == (7, 2, 7)


def test_non_uniform_gives_each_rank_its_own_images() -> None:
    """Ranks never have an image in common, and keep theirs over the epochs."""
    first = [set(draws) for draws in ranks("non_uniform_sampler")]
    assert set.union(*first) == set(range(100))
    assert sum(len(images) for images in first) == 100
    assert first == [set(draws) for draws in ranks("non_uniform_sampler", epoch=1)]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_at_the_batch_where_it_was_cut(name: SamplerName) -> None:
    """Epoch and offset are the whole state."""
    whole = DetectionSampler(UNEVEN, name, seed=1, num_replicas=2, rank=1)
    whole.set_epoch(4)
    draws = list(whole)
    state = whole.state_dict(batches_done=3, batch_size=4)
    resumed = DetectionSampler(UNEVEN, name, seed=1, num_replicas=2, rank=1)
    resumed.load_state_dict(state)
    resumed.set_epoch(4)
    assert len(resumed) == len(draws) - 12
    assert list(resumed) == draws[12:]
    assert list(resumed) == draws
    resumed.set_epoch(5)
    assert len(resumed) == 50


def test_a_state_after_the_last_batch_has_nothing_left() -> None:
    """A short last batch does not run over the end."""
    sampler = DetectionSampler(UNEVEN)
    sampler.load_state_dict(sampler.state_dict(batches_done=34, batch_size=3))
    assert list(sampler) == []


def test_bad_arguments_are_refused() -> None:
    """A rank outside its group and an empty set are mistakes."""
    with pytest.raises(ValueError, match="rank must be from 0 to 1, got 2"):
        DetectionSampler(UNEVEN, num_replicas=2, rank=2)
    with pytest.raises(ValueError, match="at least one image"):
        DetectionSampler(UNEVEN[:0])


def draw_in_group(rank: int, name: SamplerName, folder: str) -> None:
    """Draw as one of two processes, and step together as a training run does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=2)
    sampler = DetectionSampler(
        UNEVEN, name, num_replicas=dist.get_world_size(), rank=dist.get_rank()
    )
    seen = torch.zeros(len(UNEVEN), dtype=torch.int64)
    for index in sampler:
        step = torch.ones(1)
        dist.all_reduce(step)  # hangs when the other rank has no such step
        seen[index] += 1
    dist.all_reduce(seen)
    if rank == 0:
        Path(folder, f"{name}.json").write_text(json.dumps(seen.tolist()))
    dist.destroy_process_group()


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_step_together(name: SamplerName, tmp_path: Path) -> None:
    """Over gloo both ranks take all their steps, and together draw every image."""
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=draw_in_group, args=(rank, name, str(tmp_path))) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    drawn = json.loads((tmp_path / f"{name}.json").read_text())
    assert sum(drawn) == 100
    if name != "uniform_sampler":
        assert drawn == [1] * 100
