"""Views keep to the spec's sizes and to the run's one canvas, whatever the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddetr_data.config import AugmentationConfig
from ddetr_data.images import shortest_edge_hw
from ddetr_data.torch import View, draw_view, fixed_canvas_hw

SIDES = st.integers(1, 3000)
SEEDS = st.integers(0, 2**32 - 1)
FREE = AugmentationConfig(fixed_padding=False)


def assert_inside(view: View, height: int, width: int) -> None:
    assert 0 <= view.top <= view.top + view.height <= height
    assert 0 <= view.left <= view.left + view.width <= width
    assert min(view.height, view.width, *view.size_hw) >= 1


@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_without_a_canvas_sizes_are_those_of_the_spec(height: int, width: int, seed: int) -> None:
    """The short side is one of `scales`, unless the long side is at its limit."""
    view = draw_view((height, width), FREE, None, np.random.default_rng(seed))
    assert_inside(view, height, width)
    assert max(view.size_hw) <= FREE.random_resize_max_size
    assert min(view.size_hw) in FREE.scales or max(view.size_hw) == FREE.random_resize_max_size


@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_with_fixed_padding_every_view_fits_one_canvas(height: int, width: int, seed: int) -> None:
    """No image is too long, too small or too upright for the run's shape."""
    augmentation = AugmentationConfig()
    canvas_hw = fixed_canvas_hw(augmentation)
    assert canvas_hw is not None
    view = draw_view((height, width), augmentation, canvas_hw, np.random.default_rng(seed))
    assert_inside(view, height, width)
    assert view.size_hw[0] <= canvas_hw[0]
    assert view.size_hw[1] <= canvas_hw[1]


@given(height=st.integers(100, 2000), width=st.integers(100, 2000), seed=SEEDS)
def test_crops_keep_to_their_bounds(height: int, width: int, seed: int) -> None:
    """Measured in the image at train_random_resize, a crop's sides are within min and max."""
    augmentation = AugmentationConfig(
        fixed_padding=False, train_random_resize=[400], scales=[480], horizontal_flip_prob=0
    )
    view = draw_view((height, width), augmentation, None, np.random.default_rng(seed))
    if (view.height, view.width) == (height, width):
        return
    resized = shortest_edge_hw(height, width, 400, 10**6)
    for extent, side, original in zip(
        (view.height, view.width), resized, (height, width), strict=True
    ):
        rounding = side / original  # a crop ends at a whole pixel of the original
        assert extent * side / original >= 384 - rounding
        assert extent * side / original <= 600 + rounding


def test_half_of_the_views_are_crops() -> None:
    """The crop branch has probability 1/2, and flips their own."""
    rng = np.random.default_rng(0)
    views = [draw_view((480, 640), FREE, None, rng) for _ in range(2000)]
    crops = sum((view.height, view.width) != (480, 640) for view in views)
    assert 900 < crops < 1100
    assert 900 < sum(view.mirrored for view in views) < 1100
    assert len({view.size_hw for view in views if (view.height, view.width) == (480, 640)}) == 11


@pytest.mark.parametrize(("probability", "expected"), [(0.0, {False}), (1.0, {True})])
def test_flip_probabilities_hold_at_their_ends(probability: float, expected: set[bool]) -> None:
    """0 never mirrors, 1 always does."""
    augmentation = AugmentationConfig(horizontal_flip_prob=probability)
    rng = np.random.default_rng(0)
    assert {draw_view((9, 9), augmentation, None, rng).mirrored for _ in range(50)} == expected


def test_a_crop_larger_than_the_image_is_clamped() -> None:
    """A minimum above the resized image takes all of it and fails nowhere."""
    augmentation = AugmentationConfig(
        train_random_resize=[100], train_random_crop_min=384, train_random_crop_max=600
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        view = draw_view((50, 70), augmentation, None, rng)
        assert (view.top, view.left, view.height, view.width) == (0, 0, 50, 70)


@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_large_scale_jitter_stays_within_its_square(height: int, width: int, seed: int) -> None:
    """The shown part is at most S x S, and keeps the image's shape but for whole pixels."""
    augmentation = AugmentationConfig(fixed_random_crop=256)
    view = draw_view((height, width), augmentation, None, np.random.default_rng(seed))
    assert_inside(view, height, width)
    assert max(view.size_hw) <= 256


def test_large_scale_jitter_grows_and_shrinks() -> None:
    """Both ends of the range 0.1 to 2 occur."""
    augmentation = AugmentationConfig(fixed_random_crop=256)
    rng = np.random.default_rng(0)
    views = [draw_view((500, 500), augmentation, None, rng) for _ in range(200)]
    assert min(max(view.size_hw) for view in views) < 60
    assert min(view.height for view in views) < 300


def canvas_of(*sizes_wh: tuple[int, int]) -> tuple[int, int] | None:
    return fixed_canvas_hw(AugmentationConfig(), np.array(sizes_wh, np.int32).reshape(-1, 2))


def test_the_canvas_follows_the_data() -> None:
    """Landscape sets get a landscape canvas, mixed ones that of most images, never a square."""
    # fault 48
    assert canvas_of((640, 480)) == (800, 1088)
    assert canvas_of((480, 640)) == (1088, 800)
    assert canvas_of((640, 480), (480, 640)) == (800, 1344)
    assert canvas_of((640, 480), (480, 640), (480, 640)) == (1344, 800)
    assert canvas_of() == (800, 1344)
    assert canvas_of((500, 500)) == (800, 800)


def test_the_canvas_is_absent_or_square_when_the_spec_says_so() -> None:
    """Without fixed_padding batches may differ; large-scale jitter has its own square."""
    assert fixed_canvas_hw(FREE) is None
    assert fixed_canvas_hw(AugmentationConfig(fixed_random_crop=640)) == (640, 640)
