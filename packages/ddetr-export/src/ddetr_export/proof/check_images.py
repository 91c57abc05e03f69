"""The images that an exported file is compared with PyTorch on.

N images, H, W the file's input size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ddetr_data import DataError
from ddetr_data.images import PreprocessConfig, find_images, preprocess
from ddetr_export.postprocessing import FloatArray

logger = logging.getLogger(__name__)

_SEED = 20


def load_images(folder: str | Path | None, count: int, config: PreprocessConfig) -> FloatArray:
    """Preprocess the first count images of a folder, in order of name, or generated ones.

    Returns:
        (N, 3, H, W), N being count or less: the folder may hold fewer images, or ones that
        cannot be read.

    Raises:
        FileNotFoundError: the folder is not there, or holds no image.
        DataError: no image of it can be read.
    """
    if folder is None:
        return np.stack([preprocess(_clouds(index), config) for index in range(count)])
    return read_images([path for path, _ in find_images(folder)][:count], config)


def read_images(paths: Sequence[Path], config: PreprocessConfig) -> FloatArray:
    """Preprocess images; those that cannot be read are left out, with a warning each.

    Returns:
        (N, 3, H, W), N being the number of those that can be read.

    Raises:
        DataError: not one can be read.
    """
    pixels: list[FloatArray] = []
    faults: list[Exception] = []
    for path in paths:
        try:
            pixels.append(preprocess(path, config))
        except (DataError, FileNotFoundError) as error:
            logger.warning("skipped image=%s reason=%s", path, error)
            faults.append(error)
    if not pixels:
        raise DataError(f"none of the {len(paths)} images can be used: {faults[0]}")
    if faults:
        logger.warning("images left out because they do not decode: %d", len(faults))
    return np.stack(pixels)


def _clouds(index: int) -> Image.Image:
    """Sum noise of four scales: it has edges and plain areas, as photographs have them."""
    generator = np.random.default_rng([_SEED, index])
    noises = [generator.integers(0, 256, (n, n, 3), np.uint8) for n in (4, 16, 64, 256)]
    size, kind = (256, 256), Image.Resampling.BICUBIC
    layers = [Image.fromarray(noise).resize(size, kind) for noise in noises]
    mixed = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
    stretched = (mixed - mixed.min()) * (255 / np.ptp(mixed))
    return Image.fromarray(stretched.astype(np.uint8))
