"""The convolutional parts of GCViT: stem, downsampling and the global query.

B images, H and W pixels, C channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

__all__ = ["Downsample", "GlobalQuery", "Stem"]


class SqueezeExcite(nn.Module):
    """Scales each channel by what the whole map says about it."""

    def __init__(self, width: int) -> None:
        """Squeeze to a quarter of the channels."""
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // 4, 1, bias=False)
        self.fc2 = nn.Conv2d(width // 4, width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Scale (B, C, H, W)."""
        summary = features.mean((2, 3), keepdim=True)
        return features * self.fc2(F.gelu(self.fc1(summary))).sigmoid()  # type: ignore[no-any-return]


class FusedBlock(nn.Module):
    """Depth-wise convolution, squeeze and excitation, point-wise convolution, added."""

    def __init__(self, width: int) -> None:
        """Keep the number of channels."""
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.se = SqueezeExcite(width)
        self.conv_pw = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Refine (B, C, H, W)."""
        return features + self.conv_pw(self.se(F.gelu(self.conv_dw(features))))  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Halves height and width."""

    def __init__(self, width: int, width_out: int) -> None:
        """Map width channels to width_out."""
        super().__init__()
        self.norm1 = LayerNorm2d(width)
        self.conv_block = FusedBlock(width)
        self.reduction = nn.Conv2d(width, width_out, 3, stride=2, padding=1, bias=False)
        self.norm2 = LayerNorm2d(width_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width_out, H / 2, W / 2), rounded up."""
        return self.norm2(self.reduction(self.conv_block(self.norm1(features))))  # type: ignore[no-any-return]


class Stem(nn.Module):
    """From pixels to the first stage's map at stride 4."""

    def __init__(self, width: int) -> None:
        """Map 3 channels to width."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.down = Downsample(width, width)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, width, H / 4, W / 4), rounded up."""
        return self.down(self.conv1(images))  # type: ignore[no-any-return]


class GlobalQuery(nn.Module):
    """Pools a whole map into the pixels of one window."""

    def __init__(self, width: int, halvings: int, window: int) -> None:
        """Pool `halvings` times; an image of another size is resized to the window at last."""
        super().__init__()
        self.window = window
        self.blocks = nn.Sequential()
        for index in range(1, max(halvings, 1) + 1):
            self.blocks.add_module(f"conv{index}", FusedBlock(width))
            if halvings:
                self.blocks.add_module(f"pool{index}", nn.MaxPool2d(3, stride=2, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, window, window)."""
        pooled: Tensor = self.blocks(features)
        size = (self.window, self.window)
        if pooled.shape[-2:] == size:
            return pooled
        return F.interpolate(pooled, size=size, mode="bicubic", align_corners=False)
