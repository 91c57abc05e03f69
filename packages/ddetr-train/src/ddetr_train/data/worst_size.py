"""The largest batch that the augmentation can make of the training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ddetr_data import SIZE_MULTIPLE, AugmentationConfig
from ddetr_data.torch import fixed_canvas_hw


def worst_size_hw(
    augmentation: AugmentationConfig,
    sizes_wh: NDArray[np.int32],  # (I, 2), of all training images
) -> tuple[int, int]:
    """Height and width of the largest batch that the augmentation can make of the images."""
    canvas_hw = fixed_canvas_hw(augmentation, sizes_wh)
    if canvas_hw is not None:
        return canvas_hw
    long, short = sizes_wh.max(1) / sizes_wh.min(1), max(augmentation.scales)
    crop = augmentation.train_random_crop_max / augmentation.train_random_crop_min
    limit = augmentation.random_resize_max_size
    side = min(round(short * max(float(long.max()), crop)), limit)
    side = -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE
    return side, side  # a batch may hold views of both orientations
