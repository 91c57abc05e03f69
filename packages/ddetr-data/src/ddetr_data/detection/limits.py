"""How many detections an image count, and whether its labels hold more than that."""

from __future__ import annotations

from ddetr_data.coco import DetectionSet
from ddetr_data.config import DEFAULT_MAX_DETECTIONS
from ddetr_data.detection.summary import counted


def raised_num_select(num_select: int, max_detections: int) -> int:
    """Give how many detections an image a detector keeps so that max_detections can count.

    It is the model's own number, unless more than COCO's 100 are to be scored.
    """
    return (
        num_select if max_detections <= DEFAULT_MAX_DETECTIONS else max(num_select, max_detections)
    )


def limit_notices(
    labelled: DetectionSet, max_detections: int, most_detections: int | None = None
) -> list[str]:
    """Say where images hold more objects than can be found, or count.

    Args:
        labelled: What is scored on.
        max_detections: That count, of an image and class.
        most_detections: That the detector gives an image; None if it does not say.
    """
    counts = labelled.object_counts
    most = int(counts.max(initial=0))
    notices = []
    if most > max_detections:
        crowded = counted(int((counts > max_detections).sum()), "image")
        notices.append(
            f"{crowded} with more than {max_detections} objects (up to {most}): no more detections "
            f"of an image and class are scored, set evaluate.max_detections={most}"
        )
    if most_detections is not None and most_detections < min(max_detections, most):
        notices.append(
            f"the detector gives at most {most_detections} detections an image, fewer than "
            f"evaluate.max_detections ({max_detections}) and than the {most} objects of an image: "
            "raise model.num_select, of an exported file export.num_select"
        )
    return notices
