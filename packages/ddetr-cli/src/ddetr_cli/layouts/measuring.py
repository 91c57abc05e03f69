"""What a training's size follows from: how small the objects are, and how many stand together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddetr_cli.layouts.found import Source
from ddetr_data import DataSource
from ddetr_data.coco import load_sources

_MOST_LOOKED_AT = 5000  # images, evenly from all
_SMALL = 5  # percent of the objects are no larger


@dataclass(frozen=True)
class Objects:
    """The objects of the images to train on."""

    small: float  # side of a small one, as a part of its image's short side
    most: int  # in the fullest image


def measure_objects(sources: Sequence[Source]) -> Objects | None:
    """Measure the objects of some sources; None where there is none.

    Raises:
        DataError, FileNotFoundError: the labels cannot be read.
    """
    data = [DataSource(image_dir=each.image_dir, json_file=each.json_file) for each in sources]
    labelled = load_sources(data, num_classes=None)
    step = -(-len(labelled.images) // _MOST_LOOKED_AT)
    sides = [np.empty(0)]
    for record in labelled.images[::step]:
        objects = record.annotations
        shorter = objects.boxes_xywh[~objects.is_crowd, 2:].min(axis=1, initial=np.inf)
        sides.append(shorter / min(record.width, record.height))
    found = np.concatenate(sides)
    if not len(found):
        return None
    return Objects(float(np.percentile(found, _SMALL)), int(labelled.object_counts.max()))
