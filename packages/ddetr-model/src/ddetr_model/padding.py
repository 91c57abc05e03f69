"""Padding that changes no answer: the same image alone or in any batch gives the same numbers.

A convolution sees zeros outside an image. In a batch the smaller images are padded, and after the
first normalisation the padding is zero no more: it leaks into the image, and a group norm counts
it. These functions undo both. B images, C channels, H and W pixels of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddetr_model.precision import widen

__all__ = [
    "MaskedGroupNorm",
    "PaddingEraser",
    "downsample_mask",
    "nearest_mask",
    "run_unpadded",
    "valid_ratios",
]


def downsample_mask(
    mask: Tensor,  # (B, H, W) bool, True is padding
    size_hw: Sequence[int],
) -> Tensor:
    """Shrink an image's mask to one of its feature maps, (B, *size_hw) bool.

    A network of stride s sees pixel i * s of the image at its pixel i, so the map of an image has
    ceil(H / s) valid rows, the same number as when the image is alone.
    """
    stride = _stride(mask.shape[-2:], size_hw)
    return nearest_mask(mask, size_hw) if stride is None else mask[:, ::stride, ::stride]


def nearest_mask(
    mask: Tensor,  # (B, H, W) bool, True is padding
    size_hw: Sequence[int],
) -> Tensor:
    """Shrink a mask as the published code does, (B, *size_hw) bool.

    Where H is no multiple of the stride, this counts a row more or less than the image alone has.
    """
    return F.interpolate(mask[None].float(), size=tuple(size_hw))[0].to(torch.bool)


def valid_ratios(mask: Tensor) -> Tensor:
    """Give the fraction of each map (B, H, W; True is padding) that is image, (B, 2), x then y."""
    _, height, width = mask.shape
    valid_height = (~mask[:, :, 0]).sum(1).float() / height
    valid_width = (~mask[:, 0, :]).sum(1).float() / width
    return torch.stack([valid_width, valid_height], dim=-1)


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm over the image's own pixels, be there only one."""

    def forward(
        self,
        features: Tensor,  # (B, C, H, W)
        mask: Tensor | None = None,  # (B, H, W) bool, True is padding
    ) -> Tensor:
        """Normalise by the mean and variance of unpadded pixels, (B, C, H, W).

        Padded pixels get finite values that mean nothing.
        """
        if mask is None:  # not F.group_norm, which refuses one pixel of one channel
            return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)
        groups = widen(features).reshape(len(features), self.num_groups, -1, *mask.shape[1:])
        # Padding in the mean would make an image's answer depend on its neighbours in the batch.
        valid = (~mask)[:, None, None].to(groups.dtype)  # (B, 1, 1, H, W)
        count = valid.sum(dim=(2, 3, 4), keepdim=True).clamp(min=1) * groups.shape[2]
        mean = (groups * valid).sum(dim=(2, 3, 4), keepdim=True) / count
        centred = (groups - mean) * valid
        variance = centred.square().sum(dim=(2, 3, 4), keepdim=True) / count
        normalised = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        scaled: Tensor = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(features.dtype)


def run_unpadded(
    network: Callable[[Tensor], list[Tensor]],
    images: Tensor,  # (B, 3, H, W)
    mask: Tensor | None,  # (B, H, W) bool, True is padding
    strides: Sequence[int],
) -> list[Tensor]:
    """Run a network that mixes distant pixels on each image alone, cut to its own size.

    Returns:
        A map a stride, of shape (B, C, H / stride, W / stride), sides rounded up; zero where images
        are padded.
    """
    if mask is None:
        return _run_at_multiple(network, images, strides)
    sizes_hw = zip((~mask[:, :, 0]).sum(1).tolist(), (~mask[:, 0]).sum(1).tolist(), strict=True)
    alone = [
        _run_at_multiple(network, image[None, :, :height, :width], strides)
        for image, (height, width) in zip(images, sizes_hw, strict=True)
    ]
    full_hw = [[math.ceil(side / stride) for side in images.shape[-2:]] for stride in strides]
    return [
        torch.cat([_pad_to(maps[level], size_hw) for maps in alone])
        for level, size_hw in enumerate(full_hw)
    ]


class PaddingEraser:
    """Zeroes the padding in front of every convolution or pooling that looks at neighbours.

    Exact for networks of convolutions, max pooling after ReLU, and norms that work pixel by pixel.
    """

    def __init__(self, body: nn.Module) -> None:
        """Watch the layers of body; nothing happens until `mask` is set."""
        self.mask: Tensor | None = None  # (B, H, W) of the images, True is padding
        for module in body.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d) and _looks_around(module):
                module.register_forward_pre_hook(self._erase)

    def _erase(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.mask is None:
            return None
        (features,) = inputs  # (B, C, H, W)
        # An image alone has zeros beyond its border; biases and norms have filled them here.
        padding = downsample_mask(self.mask, features.shape[-2:])
        return (features.masked_fill(padding[:, None], 0.0),)


def _run_at_multiple(
    network: Callable[[Tensor], list[Tensor]], images: Tensor, strides: Sequence[int]
) -> list[Tensor]:
    # Networks differ in how they round odd sizes; at a multiple of 32 they agree.
    height, width = images.shape[-2:]
    maps = network(_pad_to(images, (height + -height % 32, width + -width % 32)))
    return [
        level[..., : math.ceil(height / stride), : math.ceil(width / stride)]
        for level, stride in zip(maps, strides, strict=True)
    ]


def _pad_to(features: Tensor, size_hw: Sequence[int]) -> Tensor:
    height, width = features.shape[-2:]
    return F.pad(features, (0, size_hw[1] - width, 0, size_hw[0] - height))


def _looks_around(module: nn.Conv2d | nn.MaxPool2d) -> bool:
    return module.kernel_size not in (1, (1, 1))


def _stride(image_hw: Sequence[int], size_hw: Sequence[int]) -> int | None:
    stride = 1
    while stride <= 2 * max(image_hw):
        if all(
            math.ceil(pixels / stride) == size
            for pixels, size in zip(image_hw, size_hw, strict=True)
        ):
            return stride
        stride *= 2
    return None
