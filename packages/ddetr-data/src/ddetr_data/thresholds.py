"""The least score of a detection that counts: one number for all classes, or one for each.

K detections of one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassThresholds:
    """A least score for some classes, and one for all others."""

    default: float
    by_label: Mapping[int, float]  # category id -> least score

    def of(self, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the least score of each label, (K,)."""
        least = [self.by_label.get(label, self.default) for label in labels.tolist()]
        return np.array(least, np.float32)


Threshold: TypeAlias = "float | ClassThresholds"
