"""Colours change, as the generator says; boxes, sizes and runs without colour jitter do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from ddetr_data import AugmentationConfig, read_image
from ddetr_data.torch import ColorJitter, Sample, TrainTransform, draw_color_jitter
from ddetr_data.types import Annotations

RAW = {"input_mean": [0.0], "input_std": [1 / 255], "scales": [32, 48]}  # pixels as 0 to 255
UNCHANGED = ColorJitter(1, 1, 1, 0)


def planes(*colors: tuple[int, int, int]) -> torch.Tensor:
    """Give a row of pixels, (3, 1, W) uint8."""
    return torch.tensor(colors, dtype=torch.uint8).T[:, None]


def colors_of(pixels: torch.Tensor) -> list[list[int]]:
    rows: list[list[int]] = pixels[:, 0].T.tolist()
    return rows


def objects() -> Annotations:
    boxes = np.array([[8.0, 8.0, 20.0, 30.0]])
    labels, crowd = np.array([1]), np.array([False])
    return Annotations(boxes, labels, crowd, boxes[:, 2] * boxes[:, 3])


def noise(*, is_grey: bool = False) -> Image.Image:
    shape = (50, 60, 1 if is_grey else 3)
    pixels = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(np.repeat(pixels, 3, axis=2) if is_grey else pixels)


def sample(strength: float, image: Image.Image, seed: int = 0) -> Sample:
    transform = TrainTransform(AugmentationConfig(**RAW, color_jitter=strength))
    return transform(image, objects(), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("jitter", "expected"),
    [
        (UNCHANGED, [[200, 100, 50], [40, 80, 120]]),
        (UNCHANGED._replace(brightness=0.5), [[100, 50, 25], [20, 40, 60]]),
        (UNCHANGED._replace(brightness=1.5), [[255, 150, 75], [60, 120, 180]]),
        (UNCHANGED._replace(saturation=0), [[124, 124, 124], [73, 73, 73]]),
        (UNCHANGED._replace(contrast=0), [[98, 98, 98], [98, 98, 98]]),  # of 124 and 73
        (UNCHANGED._replace(hue=0.5), [[50, 150, 200], [120, 80, 40]]),  # the other colour
    ],
)
def test_each_factor_does_what_its_name_says(
    jitter: ColorJitter, expected: list[list[int]]
) -> None:
    """Worked by hand; Pillow has 8 bits for a hue, so a turn there and back may lose 4."""
    found = jitter.apply(planes((200, 100, 50), (40, 80, 120)))
    assert found.dtype == torch.uint8
    assert np.abs(np.array(colors_of(found)) - expected).max() <= 4


def test_no_strength_draws_nothing_and_changes_no_byte() -> None:
    """A run without it is the run that it was before there was colour jitter."""
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    assert draw_color_jitter(0, rng) is None
    assert rng.bit_generator.state == before


def test_views_and_boxes_are_those_of_a_run_without_it() -> None:
    """The pixels alone differ."""
    for seed in range(4):
        plain, jittered = (sample(strength, noise(), seed) for strength in (0, 0.5))
        assert plain.pixels.shape == jittered.pixels.shape
        assert all(torch.equal(*pair) for pair in zip(plain[1:], jittered[1:], strict=True))
        assert not torch.equal(plain.pixels, jittered.pixels)


def test_colours_depend_on_the_generator_alone() -> None:
    """The same seed gives the same bytes, another seed others."""
    first, again, other = (sample(1, noise(), seed).pixels for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1])
def test_factors_lie_within_the_strength(strength: float) -> None:
    """They reach from 1 - 0.8 s to 1 + 0.8 s, the turn to 0.2 s."""
    drawn = [draw_color_jitter(strength, np.random.default_rng(seed)) for seed in range(200)]
    spans = np.array(drawn, float) - [1, 1, 1, 0]
    limits = strength * np.array([0.8, 0.8, 0.8, 0.2])
    assert (np.abs(spans) <= limits).all()
    assert (spans.max(0) > 0.9 * limits).all()
    assert (spans.min(0) < -0.9 * limits).all()


def test_grey_images_stay_grey() -> None:
    """Their light changes, and no colour comes into them."""
    pixels = sample(1, noise(is_grey=True)).pixels
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])
    assert not torch.equal(pixels, sample(0, noise(is_grey=True)).pixels)


def test_wide_images_are_jittered_as_they_are_seen(tmp_path: Path) -> None:
    """16 bits are brought to 8 first: the same pixels in 8 bits give the same sample."""
    narrow = np.random.default_rng(1).integers(0, 256, (50, 60), dtype=np.uint8)
    Image.fromarray(narrow.astype(np.uint16) * 257).save(tmp_path / "wide.png")
    Image.fromarray(narrow).save(tmp_path / "narrow.png")
    wide, plain = (
        sample(0.7, read_image(tmp_path / name)).pixels for name in ("wide.png", "narrow.png")
    )
    assert torch.equal(wide, plain)


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_a_strength_beyond_its_range_is_refused(strength: float) -> None:
    """It lies from 0 to 1."""
    with pytest.raises(ValidationError, match="color_jitter"):
        AugmentationConfig(color_jitter=strength)
