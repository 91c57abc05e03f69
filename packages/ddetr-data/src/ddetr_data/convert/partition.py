"""Split images into partitions (folds), and a partition into shards of nearly equal size.

n images, each named by its index 0..n-1 and known by its file name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeVar

T = TypeVar("T")


def split_folds(
    file_names: Sequence[str],  # (n,)
    sequences: Sequence[int],  # (n,), which sequence each image belongs to
    *,
    num_partitions: int,
    val_split: float | None,
    mode: Literal["random", "sequence"],
) -> list[list[int]]:
    """Give each fold its images, in their order; some folds may be empty and keep their number.

    With val_split there are two folds, 0 for validation and 1 for training. "random" orders images
    by a hash of their names, so that an image keeps its fold when others are added.
    """
    everything = list(range(len(file_names)))
    if val_split is None and num_partitions == 1:
        return [everything]
    groups = _by_sequence(sequences) if mode == "sequence" else [[index] for index in everything]
    groups.sort(key=lambda group: _hash(file_names[group[0]]))
    if val_split is not None:
        folds = _take_fraction(groups, val_split / 100)
    else:
        folds = _balance(groups, num_partitions)
    return [sorted(index for group in fold for index in group) for fold in folds]


def split_evenly(items: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Cut into at most `parts` parts whose lengths differ by one at most; none is empty."""
    parts = min(parts, len(items))
    cuts = [len(items) * part // parts for part in range(parts + 1)] if parts else [0]
    return [items[start:stop] for start, stop in pairwise(cuts)]


def _by_sequence(sequences: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, sequence in enumerate(sequences):
        groups.setdefault(sequence, []).append(index)
    return list(groups.values())


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _take_fraction(groups: list[list[int]], fraction: float) -> list[list[list[int]]]:
    """Two folds: groups as long as they bring fold 0 nearer to its fraction, and the others."""
    total = sum(map(len, groups))
    taken: list[list[int]] = []
    count = 0
    for group in groups:
        after = count + len(group)
        if after < total and abs(after - total * fraction) < abs(count - total * fraction):
            taken.append(group)
            count = after
    if fraction > 0 and not taken and len(groups) > 1:
        taken.append(min(groups, key=len))
    return [taken, [group for group in groups if group not in taken]]


def _balance(groups: list[list[int]], parts: int) -> list[list[list[int]]]:
    """Deal out the groups, largest first, each to the smallest fold so far."""
    folds: list[list[list[int]]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for group in sorted(groups, key=len, reverse=True):
        fold = sizes.index(min(sizes))
        folds[fold].append(group)
        sizes[fold] += len(group)
    return folds
