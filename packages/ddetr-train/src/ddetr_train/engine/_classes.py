"""The classes of training data, against those that are validated and those of the first weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ddetr_data import (
    as_categories,
    compare_categories,
    find_conflict,
    ids_by_name,
    refuse_other_order,
)
from ddetr_model import DeformableDETR
from ddetr_model.checkpoints import move_class_rows
from ddetr_train.data import DetectionDataModule
from ddetr_train.planning import Setup

_TRAINED, _PRETRAINED = "the training data", "the pretrained model"


def untrained_classes(data: DetectionDataModule) -> list[str]:
    """Say which classes of the validation data are not trained; the data module refuses clashes."""
    if data.val_set is None:
        return []
    difference = compare_categories(
        data.train_set.categories,
        data.val_set.categories,
        first_name=_TRAINED,
        second_name="the validation data",
        second_may_lack=True,
    )
    return [difference] if difference else []


def fit_class_heads(
    network: DeformableDETR, fresh: Mapping[str, Tensor], setup: Setup
) -> list[str]:
    """Compare the classes of the weights that a network has with those that it is trained on.

    With dataset.match_classes name, class heads are moved to the training data's ids by their
    names; classes that the weights do not name start as they were before, in `fresh`.

    Returns:
        What to tell.

    Raises:
        ValueError: a class has another id, and ids are not matched by name.
    """
    known = as_categories(network.metadata.categories) if network.metadata is not None else ()
    trained = setup.data.train_set.categories
    if not known:
        return []
    if setup.data.match_classes == "name":
        ids = ids_by_name(known, trained)
        move_class_rows(network, fresh, {each.id: ids.get(each.id) for each in trained})
        moved = sum(ids.get(each.id, each.id) != each.id for each in trained)
        new = [each.name for each in trained if each.id not in ids]
        told = [f"{moved} class heads of {_PRETRAINED} are moved by name"] if moved else []
        return [*told, *([f"not in {_PRETRAINED}, started anew: {', '.join(new)}"] if new else [])]
    refuse_other_order(trained, known, first_name=_TRAINED, second_name=_PRETRAINED)
    difference = find_conflict(trained, known, first_name=_TRAINED, second_name=_PRETRAINED)
    return [difference] if difference else []
