"""The order in which images are drawn: reproducible, equally long on every rank, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ddetr_data.coco import DetectionSet
from ddetr_data.config import DEFAULT_REPEAT_THRESHOLD, TrainSampler
from ddetr_data.torch.repeat_factor import draw_repeated, draws_of, repeat_factors

SamplerName: TypeAlias = TrainSampler
# (draws of all R ranks,): rank r takes the draws r, r + R, r + 2R ... Side by side, they make the
# same global batches as one process with an R times larger batch.
Order: TypeAlias = NDArray[np.int64]


class Draw(int):
    """An index that was drawn before in the same epoch, on any rank; how often says repetition."""

    repetition: int

    def __new__(cls, index: int, repetition: int = 0) -> Draw:
        """Be the index itself; a dataset that does not know draws sees nothing else."""
        draw = super().__new__(cls, index)
        draw.repetition = repetition
        return draw


class DetectionSampler(Sampler[int]):
    """Draws indices as a function of seed and epoch; every rank draws equally many.

    - default_sampler: every image once.
    - uniform_sampler: every source equally often, as many draws as there are images.
    - non_uniform_sampler: every rank its own stretch of the images in order of their sources.
    - repeat_factor: every image once, those of rare classes more often (LVIS).

    All but non_uniform_sampler draw in one order, whatever the number of ranks.

    Where the images do not divide by the ranks, some of them are drawn twice. What is drawn again
    in an epoch is a Draw, of which DetectionDataset shows another view each time.
    """

    def __init__(
        self,
        sources: NDArray[np.int32],  # (I,), the source of each image
        name: SamplerName = "default_sampler",
        *,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        factors: NDArray[np.float64] | None = None,  # (I,), at least 1; for repeat_factor
    ) -> None:
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be from 0 to {num_replicas - 1}, got {rank}")
        if not len(sources):
            raise ValueError("there must be at least one image to draw from, got none")
        if (factors is None) == (name == "repeat_factor"):
            raise ValueError(f"factors go with repeat_factor, and it needs them, got {name}")
        if factors is not None and (len(factors) != len(sources) or not (factors >= 1).all()):
            raise ValueError(f"there must be a factor of at least 1 for each of {len(sources)}")
        self.sources = np.asarray(sources)
        self.factors = factors
        self.name: SamplerName = name
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.offset = 0  # draws of this rank that are done already

    @classmethod
    def over(
        cls,
        detection_set: DetectionSet,
        name: SamplerName = "default_sampler",
        *,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        repeat_threshold: float = DEFAULT_REPEAT_THRESHOLD,
    ) -> DetectionSampler:
        """Draw from the images of a set."""
        numbers, factors = detection_set.source_numbers, None
        if name == "repeat_factor":
            factors = repeat_factors(detection_set, repeat_threshold).images
        return cls(numbers, name, seed=seed, num_replicas=num_replicas, rank=rank, factors=factors)

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch at its first draw; the current one goes on where it is."""
        if epoch != self.epoch:
            self.epoch, self.offset = epoch, 0

    def state_dict(self, batches_done: int = 0, batch_size: int = 1) -> dict[str, int]:
        """Give the epoch, and how many draws of this rank are done after so many of its batches.

        Batches that were trained on, not those that a loader has fetched ahead.
        """
        return {"epoch": self.epoch, "offset": min(batches_done * batch_size, self.draws_per_rank)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where state_dict was taken: the next pass skips the draws done, later ones do not.

        The rest is the same only with the seed, the images and the number of ranks of that time.
        """
        self.epoch, self.offset = state["epoch"], state["offset"]

    @property
    def draws_per_rank(self) -> int:
        """Draws of a whole epoch, the same on every rank."""
        draws = len(self.sources) if self.factors is None else draws_of(self.factors)
        return -(-draws // self.num_replicas)

    def __len__(self) -> int:
        return self.draws_per_rank - self.offset

    def __iter__(self) -> Iterator[int]:
        start, self.offset = self.offset, 0
        # The epoch's whole order is drawn anew and then cut: it depends on seed and epoch alone, so
        # a run that goes on at draw `start` sees exactly what the uncut run would have seen.
        rng = np.random.default_rng([self.seed, self.epoch])
        total = self.draws_per_rank * self.num_replicas
        if self.factors is not None:
            order = draw_repeated(self.factors, total, rng)
        else:
            order = _ORDERS[self.name](self.sources, total, self.num_replicas, rng)
        mine = slice(self.rank + start * self.num_replicas, None, self.num_replicas)
        pairs = zip(order[mine].tolist(), _repetitions(order)[mine].tolist(), strict=True)
        return (Draw(index, times) if times else index for index, times in pairs)


def _repetitions(order: Order) -> Order:
    """How often each draw's index was drawn before it, by any rank, (draws,)."""
    # Sorted by index, draws of one image are neighbours: the distance to the first one counts.
    by_index = np.argsort(order, kind="stable")
    counts = np.bincount(order)
    first_rows = np.cumsum(counts) - counts
    repetitions = np.empty_like(order)
    repetitions[by_index] = np.arange(len(order)) - first_rows[order[by_index]]
    return repetitions


def _each_once(
    sources: NDArray[np.int32], total: int, _num_replicas: int, rng: np.random.Generator
) -> Order:
    return np.resize(rng.permutation(len(sources)), total)


def _sources_alike(
    sources: NDArray[np.int32], total: int, _num_replicas: int, rng: np.random.Generator
) -> Order:
    """Draw from each source in turn; one that is used up starts again in another order.

    The draws that fill up the last step come last, so that the order is one for all numbers of
    ranks.
    """
    members = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    rng.shuffle(members)
    counts = [len(part) for part in np.array_split(np.arange(len(sources)), len(members))]
    draws = [
        _draw_all_in_turn(part, count, rng) for part, count in zip(members, counts, strict=True)
    ]
    order = rng.permutation(np.concatenate(draws))
    for position in range(len(order), total):
        part = members[position % len(members)]
        rarest = part[np.argmin(np.bincount(order, minlength=len(sources))[part])]
        order = np.append(order, rarest)
    return order


def _draw_all_in_turn(members: Order, count: int, rng: np.random.Generator) -> Order:
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(max(1, rounds))])[:count]


def _ranks_apart(
    sources: NDArray[np.int32], total: int, num_replicas: int, rng: np.random.Generator
) -> Order:
    """Cut the images, in order of their sources, into one stretch a rank."""
    by_source = np.argsort(sources, kind="stable")
    per_rank = total // num_replicas
    stretches = [
        np.resize(rng.permutation(stretch if len(stretch) else by_source), per_rank)
        for stretch in np.array_split(by_source, num_replicas)
    ]
    return np.stack(stretches, axis=1).reshape(-1)


_ORDERS: dict[SamplerName, Callable[[NDArray[np.int32], int, int, np.random.Generator], Order]] = {
    "default_sampler": _each_once,
    "uniform_sampler": _sources_alike,
    "non_uniform_sampler": _ranks_apart,
}
