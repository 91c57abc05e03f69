"""From a network's outputs to detections, in NumPy: sigmoid, joint top-k, boxes in pixels.

B images, Q queries, C classes, K detections kept.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ddetr_data import Detections

FloatArray = NDArray[np.float32]


def select_detections(
    pred_logits: FloatArray,  # (B, Q, C)
    pred_boxes: FloatArray,  # (B, Q, 4) cxcywh, 0 to 1
    image_sizes_hw: NDArray[np.int64],  # (B, 2) of the original images, pixels
    num_select: int,
    class_ids: Collection[int] = (),
) -> list[Detections]:
    """Keep the best num_select of all query and class pairs of each image, best first.

    A query may give several detections, one a class. Fewer than num_select are kept where
    there are fewer pairs. A class that class_ids lacks is never detected; empty stands for all.
    """
    ids = detectable_ids(class_ids, pred_logits.shape[-1])
    return [
        _select_in_image(logits[:, ids], ids, boxes, size_hw, num_select)
        for logits, boxes, size_hw in zip(pred_logits, pred_boxes, image_sizes_hw, strict=True)
    ]


def detectable_ids(class_ids: Collection[int], num_classes: int) -> NDArray[np.int64]:
    """Give the classes that may be detected, rising: the known ones, or all where none is."""
    return np.array(sorted(class_ids) or range(num_classes), np.int64)


def _select_in_image(
    logits: FloatArray,  # (Q, J), of the J classes that may be detected
    ids: NDArray[np.int64],  # (J,)
    boxes_cxcywh: FloatArray,  # (Q, 4)
    size_hw: NDArray[np.int64],  # (2,)
    num_select: int,
) -> Detections:
    flat = logits.reshape(-1)  # (Q * J,)
    order = np.where(np.isnan(flat), np.inf, flat)  # NaN comes first, to be seen, as in PyTorch
    best = np.argsort(-order, kind="stable")[:num_select]  # (K,)
    queries, columns = np.divmod(best, len(ids))
    scores = 1 / (1 + np.exp(-np.clip(flat[best], -80, 80)))
    height, width = size_hw
    scale = np.array([width, height, width, height], np.float32)
    boxes_xyxy = to_xyxy(boxes_cxcywh[queries]) * scale
    return Detections(boxes_xyxy.astype(np.float32), scores.astype(np.float32), ids[columns])


def to_xyxy(boxes_cxcywh: FloatArray) -> FloatArray:
    """(..., 4) centre and size to (..., 4) corners, in the same unit."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
