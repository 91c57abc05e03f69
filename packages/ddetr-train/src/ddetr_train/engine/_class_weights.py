"""How much each class counts in the class loss, from the key model.class_weights and the data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet
from ddetr_model import LossConfig, SetCriterion
from ddetr_train.planning import Setup


def weigh_classes(criterion: SetCriterion, losses: LossConfig, setup: Setup) -> list[str]:
    """Give the criterion the weights of all classes, where there are any; say which.

    Raises:
        ValueError: a class is none of the training data's; the text names the nearest.
    """
    chosen = losses.class_weights
    if chosen is None:
        return []
    labelled = setup.data.train_set
    weights = _balanced(labelled) if chosen == "balanced" else _named(chosen, labelled)
    beyond = setup.data.num_classes - len(weights)  # ids that the data do not use
    criterion.set_class_weights([*weights.tolist(), *[1.0] * beyond])
    shown = {each.name: weights[each.id] for each in labelled.categories}
    least, most = (choose(shown, key=shown.__getitem__) for choose in (min, max))
    return [
        f"model.class_weights: objects count {shown[least]:.3g} ({least}) to {shown[most]:.3g} "
        f"({most}) times in the class loss"
    ]


def _balanced(labelled: DetectionSet) -> NDArray[np.float64]:
    """Let all classes that have objects count alike; the mean over the objects is 1."""
    counts = labelled.class_counts
    weights = counts.sum() / (max(1, np.count_nonzero(counts)) * counts.clip(min=1))
    return np.where(counts > 0, weights, 1.0)


def _named(chosen: Mapping[str, float], labelled: DetectionSet) -> NDArray[np.float64]:
    ids = {str(each.id): each.id for each in labelled.categories}
    ids |= {each.name: each.id for each in labelled.categories}  # a name like a number wins
    weights = np.ones(labelled.num_classes)
    seen: dict[int, str] = {}
    for name, weight in chosen.items():
        if name not in ids:
            nearest = difflib.get_close_matches(name, ids, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"model.class_weights has {name!r}, which is no class of the training data; did "
                f"you mean {nearest!r}? It takes names and ids"
            )
        if ids[name] in seen:
            raise ValueError(
                f"model.class_weights has {seen[ids[name]]!r} and {name!r}, which are one class: "
                "leave one of them out"
            )
        seen[ids[name]] = name
        weights[ids[name]] = weight
    return weights
