"""Partitions and shards: complete, disjoint, balanced and stable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_data.convert import split_evenly, split_folds

NAMES = st.integers(0, 40).map(lambda count: [f"{index}.jpg" for index in range(count)])


@settings(deadline=None)
@given(items=st.lists(st.integers(), max_size=50), parts=st.integers(1, 60))
def test_runs_are_complete_and_differ_by_one(items, parts):
    """Joined runs give the items again; none is empty and sizes differ by one at most."""
    runs = split_evenly(items, parts)
    assert [item for run in runs for item in run] == items
    assert len(runs) == min(parts, len(items))
    assert max(map(len, runs), default=0) - min(map(len, runs), default=0) <= 1


@settings(deadline=None)
@given(names=NAMES, folds=st.integers(1, 6), mode=st.sampled_from(["random", "sequence"]))
def test_folds_are_complete_and_disjoint(names, folds, mode):
    """Every image is in exactly one fold, whatever the mode; random folds differ by one at most."""
    sequences = [index // 7 for index in range(len(names))]
    found = split_folds(names, sequences, num_partitions=folds, val_split=None, mode=mode)
    assert len(found) == folds
    assert sorted(index for fold in found for index in fold) == list(range(len(names)))
    assert all(list(fold) == sorted(fold) for fold in found)
    if mode == "random":
        assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("percent", [0, 0.5, 10, 25, 50, 99])
def test_random_validation_fraction_is_kept(percent):
    """Validation has its percentage to the nearest image, and at least one when it is above 0."""
    names = [f"{index}.jpg" for index in range(40)]
    validation, training = split_folds(
        names, [0] * 40, num_partitions=1, val_split=percent, mode="random"
    )
    assert len(validation) == pytest.approx(40 * percent / 100, abs=0.8)
    assert bool(validation) == (percent > 0)
    assert training


def test_validation_by_sequence_takes_whole_sequences():
    """The fraction is met as nearly as whole sequences allow, and training keeps one."""
    sequences = [0] * 70 + [1] * 20 + [2] * 10
    names = [f"{index}.jpg" for index in range(100)]
    validation, training = split_folds(
        names, sequences, num_partitions=2, val_split=20, mode="sequence"
    )
    assert {sequences[index] for index in validation}.isdisjoint(sequences[i] for i in training)
    assert len(validation) in (10, 20, 30)


def test_one_sequence_cannot_be_split():
    """A single sequence stays in training whole."""
    folds = split_folds(["a", "b"], [0, 0], num_partitions=1, val_split=50, mode="sequence")
    assert folds == [[], [0, 1]]


def test_added_images_leave_others_in_their_fold():
    """Images are assigned by name: adding one moves at most a few others."""
    names = [f"{index}.jpg" for index in range(60)]
    before, _ = split_folds(names, [0] * 60, num_partitions=1, val_split=30, mode="random")
    longer = ["new.jpg", *names]
    after, _ = split_folds(longer, [0] * 61, num_partitions=1, val_split=30, mode="random")
    moved = {names[index] for index in before} ^ {longer[index] for index in after}
    assert len(moved) <= 2
