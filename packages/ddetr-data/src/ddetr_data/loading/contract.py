"""What the labels of a run are held to: another table of classes, and how much may be dropped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ddetr_data.categories import MATCH_ADVICE, find_conflict
from ddetr_data.coco import UNMATCHED, DetectionSet, ImageTable, as_table, map_classes
from ddetr_data.config import ClassMatch, DatasetConfig
from ddetr_data.faults import RULES, UNKNOWN_CLASS, DataError, Losses, too_many_dropped
from ddetr_data.types import Category

logger = logging.getLogger(__name__)

_REASONS = 3  # that a refusal lists


@dataclass(frozen=True)
class LabelContract:
    """What must hold of labels before a run uses them."""

    match_classes: ClassMatch = "id"
    max_dropped: float = 0.5  # fraction of the objects of wanted classes
    classes: tuple[Category, ...] = ()  # that the labels' ids must mean; none: any
    owner: str = "the model"  # of the classes
    name: str = "the data"  # what errors call the labels
    wanted_ids: tuple[int, ...] | None = None  # classes that count; None: all

    @classmethod
    def of_training(cls, dataset: DatasetConfig) -> LabelContract:
        """What training images are held to."""
        return cls(dataset.match_classes, dataset.max_dropped, name="the training data")

    @classmethod
    def of_validation(cls, dataset: DatasetConfig, trained: tuple[Category, ...]) -> LabelContract:
        """What validation images are held to: the classes that are trained."""
        model = cls.of_scoring(dataset, trained)
        return replace(model, owner="the training data", name="the validation data")

    @classmethod
    def of_scoring(cls, dataset: DatasetConfig, classes: tuple[Category, ...]) -> LabelContract:
        """What images are held to on which a model with these classes is scored."""
        wanted = dataset.eval_class_ids
        return cls(dataset.match_classes, dataset.max_dropped, classes, wanted_ids=wanted)

    def fitted(self, labelled: DetectionSet) -> DetectionSet:
        """Give the labels with the ids of `classes`; what that changes is logged.

        Raises:
            DataError: an id has another name there, or a name another id, and match_classes is id.
        """
        if self.match_classes == "id" or not self.classes:
            self.refuse_conflicts(labelled.categories)
            return labelled
        table, faults = as_table(labelled.images), labelled.faults.copy()
        columns, categories, losses = map_classes(
            table.columns,
            labelled.categories,
            self.classes,
            labelled.losses,
            faults,
            self.name,
        )
        for sentence in faults.sentences(known=labelled.faults):
            logger.warning("labels: %s", sentence)
        if not categories:
            raise DataError(f"not one class of {self.name} has a name that {self.owner} knows")
        images = ImageTable(columns, table.image_dirs)
        return replace(
            labelled,
            images=images,
            categories=categories,
            faults=faults,
            losses=losses,
        )

    def refuse_conflicts(self, categories: tuple[Category, ...]) -> None:
        """Compare classes of labels, matched by id, with those they are held to.

        Raises:
            DataError: an id has another name, or a name another id.
        """
        conflict = find_conflict(
            self.classes, categories, first_name=self.owner, second_name=self.name
        )
        if conflict:
            raise DataError(f"{conflict}; {MATCH_ADVICE}")

    def check_losses(self, labelled: DetectionSet) -> None:
        """Refuse labels of which too many objects of wanted classes were dropped, or all.

        Raises:
            DataError: the text gives the fraction, and the first reasons with their first rows.
        """
        if not labelled.losses:
            return
        columns = as_table(labelled.images).columns
        kept = columns.labels[~columns.is_crowd]
        if self.wanted_ids is not None:
            kept = kept[np.isin(kept, self.wanted_ids)]
        lost, first = self.lost(labelled.losses), labelled.faults.first
        if sentence := explain_losses(len(kept), lost, first, self.max_dropped):
            raise DataError(f"{self.name}: {sentence}")

    def lost(self, losses: Losses) -> Losses:
        """The losses of classes that are wanted, or not known."""
        wanted = None if self.wanted_ids is None else {UNKNOWN_CLASS, *self.wanted_ids}
        return Losses(
            {(why, id): n for (why, id), n in losses.items() if wanted is None or id in wanted}
        )


def explain_losses(
    kept: int, losses: Losses, first: Callable[[str], str], max_dropped: float
) -> str | None:
    """Say that more objects of wanted classes are dropped than may be, or that none is left.

    Objects of a class that the other table does not name are not wanted, and count only where
    nothing else is left.

    Args:
        kept: objects that are left.
        losses: those that are dropped.
        first: tells where a fault was met first.
        max_dropped: the fraction that may be dropped.
    """
    reasons = Counter[str]()
    for (why, _), count in losses.items():
        reasons[why] += count
    told = "; ".join(
        f"{RULES[why].meaning}: {count} (first: {first(why)})"
        for why, count in reasons.most_common(_REASONS)
    )
    unwanted = reasons[UNMATCHED] if kept else 0
    return too_many_dropped(kept, reasons.total() - unwanted, max_dropped, told)
