"""Does the file compute what the checkpoint computes? ONNX Runtime against PyTorch.

N images, B images of one run, H, W the file's input size, Q queries, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ddetr_export.detections import FloatArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# images (B, 3, H, W) -> pred_logits (B, Q, C), pred_boxes (B, Q, 4)
Network = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class Comparison:
    """The largest absolute differences found, over all images and batch sizes."""

    images: int
    batch_sizes: tuple[int, ...]
    max_error_logits: float
    max_error_boxes: float

    @property
    def max_error(self) -> float:
        """The larger of both; NaN if either output holds one."""
        return float(np.maximum(self.max_error_logits, self.max_error_boxes))


def compare(
    session: InferenceSession,
    network: Network,
    images: FloatArray,  # (N, 3, H, W)
    fixed_batch: int | None,
) -> Comparison:
    """Run every image through both, at batch 1 and at batch N, or at the file's fixed batch."""
    batch_sizes = (1, len(images)) if fixed_batch is None else (fixed_batch,)
    references = [network(image[None]) for image in images]
    expected_logits, expected_boxes = (
        np.concatenate(each) for each in zip(*references, strict=True)
    )
    errors_logits, errors_boxes = [], []
    for batch_size in batch_sizes:
        for rows, batch in _batches(images, batch_size):
            logits, boxes = session.run(["pred_logits", "pred_boxes"], {"inputs": batch})
            errors_logits.append(np.abs(logits - expected_logits[rows]).max())
            errors_boxes.append(np.abs(boxes - expected_boxes[rows]).max())
    return Comparison(
        len(images), batch_sizes, float(np.max(errors_logits)), float(np.max(errors_boxes))
    )


def _batches(images: FloatArray, batch_size: int) -> Iterator[tuple[list[int], FloatArray]]:
    """Full batches only: the last one starts over with the first images."""
    for start in range(0, len(images), batch_size):
        rows = [index % len(images) for index in range(start, start + batch_size)]
        yield rows, images[rows]
