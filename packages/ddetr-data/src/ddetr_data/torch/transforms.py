"""From an image and its objects to a sample: random views to train on, one view to evaluate.

N objects, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ddetr_data.config import AugmentationConfig
from ddetr_data.images import PreprocessConfig, preprocess
from ddetr_data.torch._cutting import cut_objects
from ddetr_data.torch.color_jitter import ColorJitter, draw_color_jitter
from ddetr_data.torch.view import View, draw_view, fixed_canvas_hw
from ddetr_data.types import Annotations

_BLOCK_NUMBERS = 2**17  # that are normalised at a time: 512 KiB, which a core's own cache holds


class Sample(NamedTuple):
    """An image and its objects, as a network is trained on them."""

    pixels: Tensor  # (3, H, W) float32, normalised
    boxes_cxcywh: Tensor  # (N, 4) float32, normalised by W and H
    labels: Tensor  # (N,) int64
    area: Tensor  # (N,) float32, square pixels of the sample
    is_crowd: Tensor  # (N,) bool


class TrainTransform:
    """The page's training pipeline, as one random view (see ddetr_data.torch.view).

    Args:
        augmentation: the spec's block.
        canvas_hw: every sample fits into it; absent: fixed_canvas_hw(augmentation).
    """

    def __init__(
        self, augmentation: AugmentationConfig, canvas_hw: tuple[int, int] | None = None
    ) -> None:
        self.augmentation = augmentation
        self.canvas_hw = canvas_hw or fixed_canvas_hw(augmentation)
        self._offsets = torch.tensor([255 * mean for mean in _three(augmentation.input_mean)])
        self._factors = torch.tensor([1 / (255 * std) for std in _three(augmentation.input_std)])

    def __call__(
        self, image: Image.Image, objects: Annotations, rng: np.random.Generator
    ) -> Sample:
        """Draw a view and colours from rng and show them."""
        view = draw_view((image.height, image.width), self.augmentation, self.canvas_hw, rng)
        # Last, so that the views are those of a run without it.
        colors = draw_color_jitter(self.augmentation.color_jitter, rng)
        return self.show(view, image, objects, colors)

    def show(
        self,
        view: View,
        image: Image.Image,
        objects: Annotations,
        colors: ColorJitter | None = None,
    ) -> Sample:
        """Cut, resize, mirror, colour and normalise; objects outside the view are left out."""
        rows = torch.from_numpy(np.array(_cut(image, view)))  # (height, width, 3) uint8
        planes = F.resize(rows.permute(2, 0, 1), list(view.size_hw), antialias=True)
        if view.mirrored:
            planes = F.horizontal_flip(planes)
        if colors is not None:
            planes = colors.apply(planes)
        return _sample(self._normalize(planes), objects, view, (image.height, image.width))

    def _normalize(self, planes: Tensor) -> Tensor:
        """Give float32 (3, H, W) whose channels lie last in memory, as those of the image do.

        Rows of H x 3W numbers are what vector instructions take; single planes are not. A block of
        rows goes through all steps before the next one: whole images would leave the cache between.
        """
        _, height, width = planes.shape
        stored = planes.permute(1, 2, 0).reshape(height, 3 * width)
        rows = torch.empty(height, 3 * width)
        offsets, factors = self._offsets.repeat(width), self._factors.repeat(width)
        count = max(1, _BLOCK_NUMBERS // (3 * width))
        for block, part in zip(torch.split(rows, count), torch.split(stored, count), strict=True):
            block.copy_(part).sub_(offsets).mul_(factors)
        return rows.view(height, width, 3).permute(2, 0, 1)


class EvalTransform:
    """What `preprocess` does to an image, and the same to its objects; nothing is random."""

    def __init__(self, config: PreprocessConfig) -> None:
        self.config = config

    def __call__(
        self, image: Image.Image, objects: Annotations, rng: np.random.Generator | None = None
    ) -> Sample:
        """Show the whole image; rng is not used, objects outside the image are left out."""
        del rng
        height, width = size_hw = (image.height, image.width)
        pixels = torch.from_numpy(preprocess(image, self.config))
        return _sample(pixels, objects, View(0, 0, height, width, size_hw), size_hw)


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


def _cut(image: Image.Image, view: View) -> Image.Image:
    """The region that a view shows; the image itself where that is all of it."""
    region = (view.left, view.top, view.left + view.width, view.top + view.height)
    return image if region == (0, 0, *image.size) else image.crop(region)


def _sample(pixels: Tensor, objects: Annotations, view: View, image_hw: tuple[int, int]) -> Sample:
    """Bring the objects of an image to a view of it, whose (3, H, W) pixels are given.

    Sides and centres are fractions of the region, so resizing does not change them.
    """
    region_wh = (view.width, view.height)
    cut = cut_objects(objects, image_hw, (view.left, view.top), region_wh)
    enlargement = pixels.shape[1] * pixels.shape[2] / (view.height * view.width)
    boxes = np.concatenate([(cut.start + cut.stop) / 2, cut.stop - cut.start], axis=1)
    boxes /= region_wh * 2
    if view.mirrored:
        boxes[:, 0] = 1 - boxes[:, 0]
    return Sample(
        pixels,
        torch.from_numpy(boxes.astype(np.float32)),
        torch.from_numpy(cut.objects.labels),
        torch.from_numpy((cut.objects.area * enlargement).astype(np.float32)),
        torch.from_numpy(cut.objects.is_crowd),
    )
