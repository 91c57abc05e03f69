"""From images to the input of a network of one size.

B images of one run, H, W the network's input size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddetr_data import ImageLike, PreprocessConfig, preprocess
from ddetr_data.images import open_image
from ddetr_export.postprocessing import FloatArray


def stacked(
    images: Sequence[ImageLike], config: PreprocessConfig
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Open and prepare images for a fixed size; gives (B, 3, H, W) and their own sizes (B, 2)."""
    opened = [open_image(image, config.white) for image in images]
    sizes_hw = np.array([(each.height, each.width) for each in opened], np.int64)
    return np.stack([preprocess(each, config) for each in opened]), sizes_hw
