"""The images that an exported file is compared with PyTorch on.

N images, H, W the file's input size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ddetr_data.images import PreprocessConfig, preprocess
from ddetr_export.postprocessing import FloatArray

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_SEED = 20


def load_images(
    folder: str | Path | None,
    count: int,
    config: PreprocessConfig,
) -> FloatArray:
    """Preprocess the first count images of a folder, in order of name, or generated ones.

    Returns:
        (N, 3, H, W), N being count or the number of images in the folder, if that is less.

    Raises:
        FileNotFoundError: the folder is not there, or holds no image.
    """
    sources = _generate(count) if folder is None else find_images(Path(folder))[:count]
    return np.stack([preprocess(each, config) for each in sources])


def find_images(folder: Path) -> list[Path]:
    """Every image file below the folder, in order of path.

    Raises:
        FileNotFoundError: the folder is not there, or holds no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no image folder at {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not found:
        raise FileNotFoundError(f"no image below {folder}")
    return found


def _generate(count: int) -> list[Image.Image]:
    return [_clouds(np.random.default_rng([_SEED, index])) for index in range(count)]


def _clouds(generator: np.random.Generator) -> Image.Image:
    """Noise of four scales summed: edges and plains as photographs have, other than white noise."""
    layers = [
        _noise(generator, cells).resize((256, 256), Image.Resampling.BICUBIC)
        for cells in (4, 16, 64, 256)
    ]
    mixed = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
    stretched = (mixed - mixed.min()) * (255 / np.ptp(mixed))
    return Image.fromarray(stretched.astype(np.uint8))


def _noise(generator: np.random.Generator, cells: int) -> Image.Image:
    return Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8))
