"""The last bit in which faster-coco-eval's precision differs from pycocotools', and its repair.

pycocotools divides hits by (detections + 2**-52), so that nothing is divided by 0. In float64 that
sum is the count itself from 2 on, but 1 + 2**-52 for a single detection: where the best detection
of a class hits and the next one fails, pycocotools' precision is 1 - 2**-52 and the other's is 1.
Whether a second hit follows is asked of the judge itself, by more recalls than COCO's.

T IoU thresholds, R recalls, K classes, A area ranges, M limits of detections an image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXTRA_RECALLS", "precision_like_pycocotools"]

_LARGEST_EXPONENT = 40  # up to 2**41 objects of one class
# Of n objects, 2 found reach exactly one of these powers of two that 1 found does not.
EXTRA_RECALLS: NDArray[np.float64] = 2.0 ** -np.arange(-1.0, _LARGEST_EXPONENT + 1)
_ONE_OF_ONE = 1.0 / (1.0 + np.spacing(1.0))


def precision_like_pycocotools(
    precision: NDArray[np.float64],  # (T, R + len(EXTRA_RECALLS), K, A, M)
    num_objects: NDArray[np.int64],  # (K, A), that count: no crowds, of that range of areas
) -> NDArray[np.float64]:
    """Give (T, R, K, A, M), the precisions at COCO's own recalls as pycocotools has them."""
    num_recalls = precision.shape[1] - len(EXTRA_RECALLS)
    own, extra = precision[:, :num_recalls], precision[:, num_recalls:]
    # 2**e < n <= 2**(e + 1), and frexp gives the exponent of 2**e <= n - 1 plus one.
    exponents = np.frexp(np.maximum(num_objects, 1) - 1.0)[1] - 1
    exponents = np.where(num_objects <= 1, -1, exponents)  # (K, A)
    second_hit = np.take_along_axis(extra, (exponents + 1)[None, None, :, :, None], axis=1)
    return np.where((own == 1.0) & (second_hit < 1.0), _ONE_OF_ONE, own)
