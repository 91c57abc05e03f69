"""What a training sample shows of its image: which region, how large, mirrored or not.

The page's pipeline draws sizes and crops one after the other; here they are drawn first and joined
to one region and one size, so that pixels are resampled only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddetr_data.config import SIZE_MULTIPLE, AugmentationConfig
from ddetr_data.images import shortest_edge_hw

CROP_PROBABILITY = 0.5
JITTER_SCALES = (0.1, 2.0)  # of the size at which the image just fits, as large-scale jitter has it
_UNLIMITED = 2**31


@dataclass(frozen=True)
class View:
    """A region of the original image in pixels, the size it is brought to, and the mirror."""

    top: int
    left: int
    height: int
    width: int
    size_hw: tuple[int, int]
    mirrored: bool = False


def draw_view(
    image_hw: tuple[int, int],
    augmentation: AugmentationConfig,
    canvas_hw: tuple[int, int] | None,
    rng: np.random.Generator,
) -> View:
    """Draw a view; its size fits into canvas_hw, and only that caps the sizes of the spec.

    With fixed_random_crop: large-scale jitter. Else, with probability 1/2, the whole image at one
    of `scales`; else a crop of train_random_crop_min to _max pixels of the image at one of
    train_random_resize, brought to one of `scales`.
    """
    mirrored = bool(rng.random() < augmentation.horizontal_flip_prob)
    if augmentation.fixed_random_crop is not None:
        return _jitter(image_hw, augmentation.fixed_random_crop, mirrored, rng)
    region = (0, 0, *image_hw)
    if rng.random() < CROP_PROBABILITY:
        region = _draw_crop(image_hw, augmentation, rng)
    size_hw = _draw_size(region[2:], augmentation, canvas_hw, rng)
    return View(*region, size_hw=size_hw, mirrored=mirrored)


def fixed_canvas_hw(
    augmentation: AugmentationConfig,
    sizes_wh: NDArray[np.int32] | None = None,  # (I, 2), of all images of the run
) -> tuple[int, int] | None:
    """Height and width of every batch of a run; None when batches may differ.

    With fixed_random_crop S it is S x S. With fixed_padding it is what the largest of `scales`
    makes of the run's images, if that takes no more pixels than max(scales) x
    random_resize_max_size; otherwise it is that size, upright where most images are, and views
    of the other orientation are fitted into it. Sides are multiples of 32.
    """
    if augmentation.fixed_random_crop is not None:
        return augmentation.fixed_random_crop, augmentation.fixed_random_crop
    if not augmentation.fixed_padding:
        return None
    largest = max(augmentation.scales)
    limit = augmentation.random_resize_max_size
    short, long = _round_up(min(largest, limit)), _round_up(limit)
    if sizes_wh is None or not len(sizes_wh):
        return short, long
    distinct = np.unique(np.asarray(sizes_wh), axis=0)
    outputs = [shortest_edge_hw(int(h), int(w), largest, limit) for w, h in distinct]
    height, width = (_round_up(max(output[axis] for output in outputs)) for axis in (0, 1))
    if height * width <= short * long:
        return height, width
    are_upright = np.asarray(sizes_wh)[:, 1] > np.asarray(sizes_wh)[:, 0]
    return (long, short) if are_upright.mean() > 0.5 else (short, long)


def _round_up(side: int) -> int:
    return -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE


def _draw_crop(
    image_hw: tuple[int, int], augmentation: AugmentationConfig, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw top, left, height and width, in pixels of the original."""
    edges = augmentation.train_random_resize
    edge = edges[int(rng.integers(len(edges)))]
    resized = shortest_edge_hw(*image_hw, edge, _UNLIMITED)
    region = []
    for side, original in zip(resized, image_hw, strict=True):
        smallest = min(side, augmentation.train_random_crop_min)
        largest = min(side, augmentation.train_random_crop_max)
        extent = int(rng.integers(smallest, largest + 1))
        start = int(rng.integers(0, side - extent + 1))
        region.append(_to_original(start, extent, side, original))
    (top, height), (left, width) = region
    return top, left, height, width


def _to_original(start: int, extent: int, side: int, original: int) -> tuple[int, int]:
    """Bring a range of pixels, of a side that was resized to `side`, to the original's pixels."""
    scale = original / side
    first = min(int(start * scale), original - 1)
    return first, max(1, min(round(extent * scale), original - first))


def _draw_size(
    region_hw: tuple[int, int],
    augmentation: AugmentationConfig,
    canvas_hw: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Draw from the scales that fit into the canvas; when none does, shrink the smallest."""
    limit = augmentation.random_resize_max_size
    sizes = [shortest_edge_hw(*region_hw, edge, limit) for edge in augmentation.scales]
    if canvas_hw is not None:
        height, width = canvas_hw
        fitting = [size for size in sizes if size[0] <= height and size[1] <= width]
        sizes = fitting or [_shrink(min(sizes), canvas_hw)]
    return sizes[int(rng.integers(len(sizes)))]


def _shrink(size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[int, int]:
    scale = min(canvas_hw[0] / size_hw[0], canvas_hw[1] / size_hw[1])
    return max(1, int(size_hw[0] * scale)), max(1, int(size_hw[1] * scale))


def _jitter(image_hw: tuple[int, int], side: int, mirrored: bool, rng: np.random.Generator) -> View:
    """Scale by a random factor, then cut what is larger than side; smaller stays smaller."""
    scale = rng.uniform(*JITTER_SCALES) * side / max(image_hw)
    region, size_hw = [], []
    for original in image_hw:
        scaled = max(1, int(original * scale))
        extent = min(scaled, side)
        start = int(rng.integers(0, scaled - extent + 1))
        region.append(_to_original(start, extent, scaled, original))
        size_hw.append(extent)
    (top, height), (left, width) = region
    return View(top, left, height, width, (size_hw[0], size_hw[1]), mirrored)
