"""What labels ask of a training that it cannot give, known before its first step.

I images, N objects of all images together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet
from ddetr_data.config import AugmentationConfig
from ddetr_data.types import Category

# Of the training boxes. A few specks are in every set; one in twenty is more than a few, and costs
# that much recall where not one of them is found.
MANY_SMALL_BOXES = 0.05
_NAMES_TOLD = 8  # classes; the check lists them all


@dataclass(frozen=True)
class TrainingLimits:
    """What a training can take; None where it is not known, and then not looked at."""

    num_classes: int | None = None
    num_queries: int | None = None
    finest_stride: int | None = None  # pixels, of the model's finest level
    augmentation: AugmentationConfig | None = None  # the sizes that images are trained at
    images_a_step: int | None = None  # of all processes together
    eval_class_ids: Collection[int] | None = None  # classes that are validated; None: all


def classes_without_objects(
    categories: Sequence[Category],
    labels: NDArray[np.int64],  # (N,), category ids of what is no crowd
    among: Collection[int] | None = None,
) -> tuple[Category, ...]:
    """Which classes of a table (of those that `among` names) have not one object."""
    found = set(np.unique(labels).tolist())
    return tuple(
        each for each in categories if each.id not in found and (among is None or each.id in among)
    )


def boxes_below_stride(
    boxes_xywh: NDArray[np.float64],  # (N, 4), pixels of the stored image
    sizes_wh: NDArray[np.int32],  # (N, 2), of each box's image
    limits: TrainingLimits,
) -> NDArray[np.bool_]:
    """Which boxes (N,) cover less than a pixel of the finest level at the usual training size.

    That is the whole image at the middle one of `scales`; crops show an object larger. The side of
    a box is the square root of its area. No box is below a stride that is not known.
    """
    if limits.finest_stride is None or limits.augmentation is None:
        return np.zeros(len(boxes_xywh), np.bool_)
    side = np.sqrt(boxes_xywh[:, 2] * boxes_xywh[:, 3])
    return side * _usual_scale(sizes_wh, limits.augmentation) < limits.finest_stride


def are_many_small(below: NDArray[np.bool_]) -> bool:
    """Whether so many of the boxes (N,) are below the stride that it is told."""
    return bool(len(below)) and float(below.mean()) >= MANY_SMALL_BOXES


def classes_of_no_use(categories: Sequence[Category], num_classes: int | None) -> int:
    """How many classes a model has beyond the largest id of the data."""
    if num_classes is None or not categories:
        return 0
    return max(0, num_classes - 1 - max(each.id for each in categories))


def training_notices(
    train: DetectionSet, val: DetectionSet | None, limits: TrainingLimits
) -> list[str]:
    """Say what a training will not learn, each with the key to change; [] where all is well.

    Args:
        train: what is trained on.
        val: what is validated on, if anything.
        limits: of the training.
    """
    notices = [
        _about_classes(train, val, limits),
        _about_queries(train, limits),
        _about_small_boxes(train, limits),
        _about_the_batch(train, limits),
        _about_num_classes(train, limits),
    ]
    return [text for part in notices for text in part]


def _about_classes(
    train: DetectionSet, val: DetectionSet | None, limits: TrainingLimits
) -> list[str]:
    told = []
    untaught = classes_without_objects(train.categories, _labels(train))
    if untaught:
        told.append(
            f"classes without an object in dataset.train_data_sources, which cannot be learnt: "
            f"{_names(untaught)}: label some, or take them out of the table of categories"
        )
    if val is not None:
        taught = {each.id for each in train.categories} - {each.id for each in untaught}
        if limits.eval_class_ids is not None:
            taught &= set(limits.eval_class_ids)
        unseen = classes_without_objects(train.categories, _labels(val), taught)
        if unseen:
            told.append(
                f"classes without an object in dataset.val_data_sources: {_names(unseen)}: they "
                "have no AP, and the best checkpoint is chosen without them; label some there"
            )
    return told


def _about_queries(train: DetectionSet, limits: TrainingLimits) -> list[str]:
    counts, queries = train.object_counts, limits.num_queries
    most = int(counts.max(initial=0))
    if queries is None or most <= queries:
        return []
    number = int((counts > queries).sum())
    return [
        f"{number} training images have more objects than model.num_queries ({queries}), up to "
        f"{most}: those beyond are taught as background; set model.num_queries={most} or more"
    ]


def _about_small_boxes(train: DetectionSet, limits: TrainingLimits) -> list[str]:
    objects = train.objects
    are_objects = ~objects.is_crowd
    sizes_wh = train.sizes_wh[train.owners[are_objects]]
    below = boxes_below_stride(objects.boxes_xywh[are_objects], sizes_wh, limits)
    if not are_many_small(below) or limits.augmentation is None:
        return []
    return [
        f"{below.mean():.0%} of the training boxes are smaller than {limits.finest_stride} x "
        f"{limits.finest_stride} pixels, the finest stride, in images of the usual size (short "
        f"side {_usual_edge(limits.augmentation)}): raise dataset.augmentation.scales and "
        "random_resize_max_size, or let model.return_interm_indices begin with a finer stage"
    ]


def _about_the_batch(train: DetectionSet, limits: TrainingLimits) -> list[str]:
    if limits.images_a_step is None or len(train.images) >= limits.images_a_step:
        return []
    return [
        f"{len(train.images)} training images are fewer than the {limits.images_a_step} of a step: "
        "an epoch is one update; lower dataset.batch_size, or raise train.num_epochs"
    ]


def _about_num_classes(train: DetectionSet, limits: TrainingLimits) -> list[str]:
    surplus = classes_of_no_use(train.categories, limits.num_classes)
    if not surplus or limits.num_classes is None:
        return []
    return [
        f"dataset.num_classes is {limits.num_classes}, the largest category id of the training "
        f"data {limits.num_classes - 1 - surplus}: {surplus} classes are of no use; set "
        f"dataset.num_classes=auto or {limits.num_classes - surplus} (the largest id + 1, also of "
        "a single class)"
    ]


def _labels(labelled: DetectionSet) -> NDArray[np.int64]:
    objects = labelled.objects
    return objects.labels[~objects.is_crowd]


def _names(categories: Sequence[Category]) -> str:
    names = ", ".join(each.name for each in categories[:_NAMES_TOLD])
    left = len(categories) - _NAMES_TOLD
    return f"{names} and {left} more" if left > 0 else names


def _usual_edge(augmentation: AugmentationConfig) -> int:
    """The middle one of the sizes that are drawn, in pixels."""
    if augmentation.fixed_random_crop is not None:
        return augmentation.fixed_random_crop
    return sorted(augmentation.scales)[len(augmentation.scales) // 2]


def _usual_scale(
    sizes_wh: NDArray[np.int32], augmentation: AugmentationConfig
) -> NDArray[np.float64]:
    """By how much images are enlarged (N,) where they are trained whole."""
    edge = _usual_edge(augmentation)
    longest = sizes_wh.max(1)
    if augmentation.fixed_random_crop is not None:  # jitter is around the size that just fits
        fitting: NDArray[np.float64] = edge / longest
        return fitting
    limit = augmentation.random_resize_max_size
    scale: NDArray[np.float64] = np.minimum(edge / sizes_wh.min(1), limit / longest)
    return scale
