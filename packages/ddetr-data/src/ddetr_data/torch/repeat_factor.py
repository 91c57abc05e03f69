"""Images of rare classes more often: repeat-factor sampling (Gupta et al. 2019, LVIS).

I images. A class that is in a fraction f of them has the factor max(1, sqrt(threshold / f)), an
image the largest of its classes; without objects it has 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet


@dataclass(frozen=True, eq=False)
class RepeatFactors:
    """How often images are drawn in an epoch, on the average of many."""

    images: NDArray[np.float64]  # (I,), at least 1
    classes: dict[str, float]  # of the classes that there are images of, by name
    threshold: float

    @property
    def draws(self) -> int:
        """Draws of an epoch, the same in each."""
        return draws_of(self.images)

    def sentence(self) -> str:
        """Say how many classes are repeated how often, and what it makes of an epoch."""
        total = len(self.images)
        repeated = {name: factor for name, factor in self.classes.items() if factor > 1}
        if not repeated:
            return (
                f"repeat_factor repeats nothing: each class is in at least {self.threshold:g} of "
                f"the {total} images (dataset.repeat_threshold)"
            )
        steps = [math.ceil(math.log2(factor)) for factor in repeated.values()]
        histogram = ", ".join(f"{steps.count(n)} up to {2**n} times" for n in sorted(set(steps)))
        rarest = max(repeated, key=repeated.__getitem__)
        return (
            f"repeat_factor: {len(repeated)} of {len(self.classes)} classes are drawn more often "
            f"({histogram}; most of all {rarest}, {repeated[rarest]:.2f} times); an epoch has "
            f"{self.draws} images, without it {total}"
        )


def repeat_factors(detection_set: DetectionSet, threshold: float) -> RepeatFactors:
    """Count the images of each class; crowds and regions do not count.

    Args:
        detection_set: of training.
        threshold: fraction of the images below which a class is repeated.
    """
    total = len(detection_set.images)
    owners, labels = detection_set.image_classes.T
    counts = np.bincount(labels, minlength=detection_set.num_classes)
    by_class = np.maximum(1, np.sqrt(threshold * total / counts.clip(min=1)))
    by_image = np.ones(total)
    np.maximum.at(by_image, owners, by_class[labels])
    shown = [each for each in detection_set.categories if counts[each.id]]
    names = {each.name: float(by_class[each.id]) for each in shown}
    return RepeatFactors(by_image, names, threshold)


def draws_of(factors: NDArray[np.float64]) -> int:
    """Draws of an epoch: the sum of the factors, rounded up."""
    whole = np.floor(factors)
    return int(whole.sum()) + math.ceil(float((factors - whole).sum()) - 1e-6)


def draw_repeated(
    factors: NDArray[np.float64],  # (I,)
    total: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # (total,)
    """Draw each image as often as the whole number of its factor says, and its fraction by chance.

    The fractions are rounded together: in a random order of the images their running sum steps
    over whole numbers, from a random start. Each image is then rounded up as often as its fraction
    says, and yet all epochs are equally long, which steps, schedules and ranks are counted by.
    """
    images = rng.permutation(len(factors))
    whole = np.floor(factors[images])
    running = np.cumsum(factors[images] - whole) + rng.random()
    counts = whole + np.diff(np.floor(running), prepend=0)
    return np.resize(rng.permutation(np.repeat(images, counts.astype(np.int64))), total)
