"""Surfaces for synthetic scenes: smooth noise, stripes, checks, gradients of two colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# H, W pixels of the image; colours are (3,) RGB from 0 to 255.
_MIN_CONTRAST = 70.0  # Euclidean RGB distance between an object and what lies behind it


def random_color(rng: np.random.Generator) -> NDArray[np.float32]:  # (3,)
    """Any colour, neither black nor white."""
    return rng.uniform(25, 235, 3).astype(np.float32)


def contrasting_color(
    rng: np.random.Generator, background: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A colour that can be told from `background` (3,), whatever the object's class."""
    for _ in range(8):
        color = random_color(rng)
        if float(np.linalg.norm(color - background)) >= _MIN_CONTRAST:
            return color
    return (255 - background).astype(np.float32)


def ground_texture(
    rng: np.random.Generator, image_size_hw: tuple[int, int]
) -> NDArray[np.float32]:  # (H, W, 3)
    """An image's ground: two octaves of smooth noise between two colours, sometimes striped."""
    height, width = image_size_hw
    blend = 0.6 * _smooth_noise(rng, image_size_hw, cells=3) + 0.4 * _smooth_noise(
        rng, image_size_hw, cells=11
    )
    if rng.random() < 0.4:
        blend = 0.75 * blend + 0.25 * _stripes(
            rng, image_size_hw, wavelength=rng.uniform(0.06, 0.2) * min(height, width)
        )
    first = random_color(rng)
    second = np.clip(first + rng.uniform(-60, 60, 3), 0, 255).astype(np.float32)
    return _blend(first, second, blend)


def fill_texture(
    rng: np.random.Generator,
    image_size_hw: tuple[int, int],
    color: NDArray[np.float32],  # (3,)
    diameter: float,  # of the object, in pixels
) -> NDArray[np.float32]:  # (H, W, 3)
    """An object's surface around `color`: plain, shaded, striped, checked or mottled."""
    second = np.clip(color + rng.choice([-1, 1]) * rng.uniform(25, 60), 0, 255).astype(np.float32)
    wavelength = diameter * rng.uniform(0.15, 0.4)
    kind = rng.integers(5)
    if kind == 0:
        pattern = np.zeros(image_size_hw, dtype=np.float32)
    elif kind == 1:
        pattern = _stripes(rng, image_size_hw, wavelength=4 * diameter)
    elif kind == 2:
        pattern = (_stripes(rng, image_size_hw, wavelength) > 0.5).astype(np.float32)
    elif kind == 3:
        waves = _stripes(rng, image_size_hw, wavelength) > 0.5
        pattern = (waves ^ (_stripes(rng, image_size_hw, wavelength) > 0.5)).astype(np.float32)
    else:
        pattern = _smooth_noise(rng, image_size_hw, cells=12)
    return _blend(color, second, pattern)


def _blend(
    first: NDArray[np.float32], second: NDArray[np.float32], fraction: NDArray[np.float32]
) -> NDArray[np.float32]:
    return first + fraction[..., None] * (second - first)


def _smooth_noise(
    rng: np.random.Generator, image_size_hw: tuple[int, int], cells: int
) -> NDArray[np.float32]:
    height, width = image_size_hw
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return fine.clip(0, 1)


def _stripes(
    rng: np.random.Generator, image_size_hw: tuple[int, int], wavelength: float
) -> NDArray[np.float32]:
    height, width = image_size_hw
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    frequency = 2 * np.pi / max(wavelength, 4.0)
    x = np.float32(np.cos(angle) * frequency) * np.arange(width, dtype=np.float32)
    y = np.float32(np.sin(angle) * frequency) * np.arange(height, dtype=np.float32)
    waves = np.sin(x[None, :] + y[:, None] + np.float32(phase))
    fraction: NDArray[np.float32] = waves * np.float32(0.5) + np.float32(0.5)
    return fraction
