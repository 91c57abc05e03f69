"""The matching is the cheapest one, and always exists."""

from itertools import permutations

import pytest
import torch

from ddetr_model import HungarianMatcher, LayerOutput, LossConfig
from ddetr_model.matcher import Predictions, pad_targets


def random_outputs(queries, classes=5):
    logits = torch.randn(2, queries, classes)
    return LayerOutput(logits, torch.rand(2, queries, 4) * 0.5 + 0.2)


def test_matching_is_the_brute_force_optimum(targets):
    """No other assignment of the three objects to five queries costs less."""
    matcher = HungarianMatcher(LossConfig())
    outputs = random_outputs(5)
    queries, objects = matcher(outputs, targets)[0]
    predictions = Predictions(outputs.pred_logits[None], outputs.pred_boxes[None])
    cost = matcher.cost(predictions, pad_targets(targets))[0, 0]  # (Q, T)
    best = min(
        sum(cost[query, index] for index, query in enumerate(chosen))
        for chosen in permutations(range(5), 3)
    )
    assert cost[queries, objects].sum().item() == pytest.approx(best.item(), abs=1e-5)


def test_perfect_predictions_are_found(targets):
    """A query with the object's own box and class is the object's match."""
    outputs = random_outputs(6)
    for index, (box, label) in enumerate(
        zip(targets[0]["boxes"], targets[0]["labels"], strict=True)
    ):
        outputs.pred_boxes[0, index + 2] = box
        outputs.pred_logits[0, index + 2, label] = 9.0
    queries, objects = HungarianMatcher(LossConfig())(outputs, targets)[0]
    assert dict(zip(queries.tolist(), objects.tolist(), strict=True)) == {2: 0, 3: 1, 4: 2}


def test_image_without_objects_matches_nothing(targets):
    """An empty image gives two empty index lists beside a full one."""
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    first, second = HungarianMatcher(LossConfig())(random_outputs(5), [targets[0], empty])
    assert len(first[0]) == 3
    assert len(second[0]) == len(second[1]) == 0


def test_more_objects_than_queries_use_every_query(targets):
    """Two queries take two of three objects."""
    queries, objects = HungarianMatcher(LossConfig())(random_outputs(2), targets)[0]
    assert sorted(queries.tolist()) == [0, 1]
    assert len(set(objects.tolist())) == 2


@pytest.mark.parametrize("extreme", [6e4, -6e4, float("inf"), float("-inf"), float("nan")])
def test_extreme_half_precision_logits_still_match(targets, extreme):
    """Logits at the end of float16, infinite or NaN leave a finite cost and a full matching."""
    logits = torch.full((2, 5, 5), extreme, dtype=torch.float16)
    outputs = random_outputs(5)._replace(pred_logits=logits)
    queries, _ = HungarianMatcher(LossConfig())(outputs, targets)[0]
    assert len(queries) == 3
