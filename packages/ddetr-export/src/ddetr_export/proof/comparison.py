"""The comparison of an exported file in a runtime with the checkpoint in PyTorch.

N images, B images of one run, H, W the file's input size, Q queries, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddetr_data import Detections
from ddetr_export.config import Precision
from ddetr_export.postprocessing import FloatArray, detectable_ids, select_detections

# images (B, 3, H, W) -> pred_logits (B, Q, C), pred_boxes (B, Q, 4)
Forward = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

# Largest errors of logits and boxes. In float32 only the order of sums differs, about 1e-5. The
# others bound what goes wrong by mistake: how good a lowered precision is, AP has to say.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.1, "int8_qdq": 2.0}
_SAME_IOU = 0.9
_SAME_SCORE = 0.05


@dataclass(frozen=True)
class Comparison:
    """The largest absolute differences found, over all images and batch sizes."""

    images: int
    batch_sizes: tuple[int, ...]
    tolerance: float
    max_error_logits: float
    max_error_boxes: float  # normalised
    same_detections: float  # fraction of PyTorch's that the file finds too: label, box and score
    runtime: str = "ONNX Runtime"

    def problems(self) -> tuple[str, ...]:
        """Say what is above the tolerance; NaN always is."""
        errors = {"logits": self.max_error_logits, "boxes": self.max_error_boxes}
        return tuple(
            f"{self.runtime} differs from PyTorch by {error:.2g} in {name}, "
            f"more than {self.tolerance:g}"
            for name, error in errors.items()
            if not error <= self.tolerance
        )


def compare(
    exported: Forward,
    reference: Forward,
    images: FloatArray,  # (N, 3, H, W)
    batch_sizes: Sequence[int],
    *,
    num_select: int,
    tolerance: float,
    any_order: bool = False,
    class_ids: Collection[int] = (),
) -> Comparison:
    """Run every image through both networks, the exported one at each of the batch sizes.

    With any_order the queries may come in another order, and those that give none of PyTorch's
    num_select detections may be others: the proposals of two stages, whose scores are close to
    each other, swap their order with the last digits of a lowered precision.

    Raises:
        ValueError: PyTorch itself gives NaN or infinite values.
    """
    references = [reference(image[None]) for image in images]
    logits, boxes = (np.concatenate(each) for each in zip(*references, strict=True))
    if not (np.isfinite(logits).all() and np.isfinite(boxes).all()):
        raise ValueError("the checkpoint gives NaN or infinite values: its training went wrong")
    selection = (num_select, class_ids)
    errors: list[tuple[float, float, float]] = []
    for batch_size in batch_sizes:
        for rows, batch in _batches(images, batch_size):
            expected = logits[rows], boxes[rows]
            errors.append(_differences(exported(batch), expected, selection, any_order))
    error_logits, error_boxes, missing = np.max(np.array(errors), axis=0)
    return Comparison(
        images=len(images),
        batch_sizes=tuple(batch_sizes),
        tolerance=tolerance,
        max_error_logits=float(error_logits),
        max_error_boxes=float(error_boxes),
        same_detections=float(1 - missing),
    )


def _batches(images: FloatArray, batch_size: int) -> Iterator[tuple[list[int], FloatArray]]:
    """Yield image indices and images of full batches: the last one starts over with the first."""
    for start in range(0, len(images), batch_size):
        rows = [index % len(images) for index in range(start, start + batch_size)]
        yield rows, images[rows]


def _differences(
    found: tuple[FloatArray, FloatArray],
    expected: tuple[FloatArray, FloatArray],
    selection: tuple[int, Collection[int]],  # detections kept, and the classes that there are
    any_order: bool,
) -> tuple[float, float, float]:
    """Largest error of logits and of boxes, and the fraction of detections that is missing."""
    sizes_hw = np.ones((len(found[0]), 2), np.int64)
    ours, theirs = (select_detections(*each, sizes_hw, *selection) for each in (found, expected))
    same = [agreement(one, other) for one, other in zip(ours, theirs, strict=True)]
    if any_order:
        images = zip(*found, *expected, strict=True)
        errors = [_errors_of_nearest(*image, *selection) for image in images]
        logits, boxes = np.max(np.array(errors), axis=0)
    else:
        logits, boxes = (np.abs(a - b).max() for a, b in zip(found, expected, strict=True))
    return float(logits), float(boxes), 1 - min(same)


def _errors_of_nearest(
    logits: FloatArray,  # (Q, C)
    boxes: FloatArray,  # (Q, 4)
    expected_logits: FloatArray,  # (Q, C)
    expected_boxes: FloatArray,  # (Q, 4)
    num_select: int,
    class_ids: Collection[int],
) -> tuple[float, float]:
    """Largest errors of logits and of boxes between each query that detects and the nearest one."""
    classes = logits.shape[1]
    ids = detectable_ids(class_ids, classes)
    best = np.argsort(-expected_logits[:, ids].reshape(-1), kind="stable")[:num_select]
    kept = best // len(ids)
    theirs = np.concatenate([expected_logits, expected_boxes], axis=1)[np.unique(kept)]  # (K, C+4)
    ours = np.concatenate([logits, boxes], axis=1)  # (Q, C+4)
    nearest = np.abs(ours[None] - theirs[:, None]).max(axis=2).argmin(axis=1)  # (K,)
    errors = np.abs(ours[nearest] - theirs)
    return float(errors[:, :classes].max()), float(errors[:, classes:].max())


def agreement(found: Detections, expected: Detections) -> float:
    """Fraction of expected detections that were found: same label, IoU >= 0.9, score within 0.05.

    1 where nothing is expected.
    """
    if len(expected) == 0:
        return 1.0
    same = found.labels[None] == expected.labels[:, None]  # (expected, found)
    same &= np.abs(found.scores[None] - expected.scores[:, None]) <= _SAME_SCORE
    same &= _iou(expected.boxes_xyxy, found.boxes_xyxy) >= _SAME_IOU
    return float(same.any(axis=1).mean())


def _iou(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """(K, 4) and (J, 4) to (K, J)."""
    one, other = first[:, None].astype(np.float64), second[None].astype(np.float64)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    area = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1)
    iou: NDArray[np.float64] = overlap / np.maximum(area - overlap, 1e-12)
    return iou
