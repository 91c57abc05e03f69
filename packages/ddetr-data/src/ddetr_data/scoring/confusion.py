"""Which class was taken for which: counts of matched, missed and invented objects.

N objects, K detections of one image, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.coco import DetectionSet
from ddetr_data.scoring.coco_scorer import unique_names
from ddetr_data.types import Annotations, Detections

NOTHING = "(nothing)"


@dataclass(frozen=True, eq=False)
class ConfusionTable:
    """Rows are true classes, columns what was detected; the last of each is nothing."""

    names: tuple[str, ...]  # (C + 1,)
    counts: NDArray[np.int64]  # (C + 1, C + 1)

    def to_dict(self) -> dict[str, Any]:
        """Give names and rows for JSON."""
        return {"names": list(self.names), "counts": self.counts.tolist()}


def confusion_table(
    detection_set: DetectionSet,
    detections: Mapping[int, Detections],
    *,
    conf_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> ConfusionTable:
    """Count matches of detections and objects of any class: best score first, each object once.

    Detections inside a crowd region count nowhere, and neither do crowds. Detections of classes
    that the set does not have are left out, as COCO's scoring leaves them out.

    Args:
        detection_set: the ground truth.
        detections: by image id; an image without any is one in which all is missed.
        conf_threshold: detections below it are left out.
        iou_threshold: overlap from which a detection belongs to an object.
    """
    index_of = {category.id: index for index, category in enumerate(detection_set.categories)}
    nothing = len(index_of)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for record in detection_set.images:
        found = detections.get(record.id, Detections.empty()).above(conf_threshold)
        found = found.of_classes(index_of)
        partner = match_detections(record.annotations, found, iou_threshold)
        taken = set(partner.tolist())
        for row, object_ in enumerate(partner.tolist()):
            true = nothing if object_ < 0 else index_of[int(record.labels[object_])]
            if object_ < 0 or not record.is_crowd[object_]:
                counts[true, index_of[int(found.labels[row])]] += 1
        for object_ in np.flatnonzero(~record.is_crowd).tolist():
            if object_ not in taken:
                counts[index_of[int(record.labels[object_])], nothing] += 1
    return ConfusionTable((*unique_names(detection_set.categories), NOTHING), counts)


def match_detections(
    objects: Annotations, found: Detections, iou_threshold: float = 0.5
) -> NDArray[np.int64]:
    """Give each detection (K,) the index of its object of any class, or -1.

    The best score chooses first, and an object has one detection; a crowd may have many.
    """
    partner = np.full(len(found), -1, np.int64)
    overlap = overlaps(found.boxes_xyxy.astype(np.float64), objects)
    for row in np.argsort(-found.scores, kind="stable"):
        for crowd in (False, True):  # a crowd takes only what no object wants
            candidates = np.where(objects.is_crowd == crowd, overlap[row], -1.0)
            best = int(candidates.argmax()) if len(candidates) else -1
            if best >= 0 and candidates[best] >= iou_threshold:
                partner[row] = best
                if not crowd:
                    overlap[:, best] = -1.0
                break
    return partner


def overlaps(boxes_xyxy: NDArray[np.float64], objects: Annotations) -> NDArray[np.float64]:
    """Intersection over union (K, N); over the detection's own area where the object is a crowd."""
    first, last = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:]
    start = objects.boxes_xywh[None, :, :2]
    stop = start + objects.boxes_xywh[None, :, 2:]
    intersection = np.clip(np.minimum(last, stop) - np.maximum(first, start), 0, None).prod(axis=2)
    area = np.clip(last - first, 0, None).prod(axis=2)
    union = area + np.where(objects.is_crowd, 0.0, (stop - start).prod(axis=2) - intersection)
    overlap: NDArray[np.float64] = intersection / np.maximum(union, np.finfo(np.float64).tiny)
    return overlap
