"""Sine position encodings of pixels and of boxes (Vaswani et al. 2017; Carion et al. 2020).

B images, H and W pixels of one feature map, N numbers a coordinate is spread over.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ddetr_model.precision import widen

__all__ = ["SinePositionEncoding", "encode_coordinates"]

TEMPERATURE = 10000.0


def encode_coordinates(
    coordinates: Tensor,  # (..., K) 0 to 1
    num_features: int,
) -> Tensor:
    """Spread each coordinate over sines and cosines of num_features wavelengths.

    Returns:
        (..., K * num_features) float32 or wider, sine and cosine taking turns.
    """
    coordinates = widen(coordinates)
    index = torch.arange(num_features, dtype=coordinates.dtype, device=coordinates.device)
    wavelengths = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / num_features)
    angles = coordinates[..., None] * (2 * math.pi) / wavelengths  # (..., K, N)
    waves = torch.where(index % 2 == 0, angles.sin(), angles.cos())
    # Not flatten: in a traced graph its sizes would be computed, and those after it unknown.
    return torch.cat(waves.unbind(-2), dim=-1)


class SinePositionEncoding(nn.Module):
    """Position of each pixel in its image, half of the channels for y and half for x."""

    def __init__(self, channels: int) -> None:
        """Make encodings of the given number of channels, an even number."""
        super().__init__()
        self.num_features = channels // 2

    def forward(
        self,
        size_hw: tuple[int, int],
        mask: Tensor | None,  # (B, H, W) bool, True is padding
        device: torch.device,
    ) -> Tensor:
        """Encode pixel centres as parts of the image's own height and width, padding left out.

        Returns:
            (B, channels, H, W) float32; without a mask B is 1.
        """
        y, x = _unpadded(size_hw, device) if mask is None else _padded(~mask)  # (B, H, W) each
        encoded = [encode_coordinates(axis[..., None], self.num_features) for axis in (y, x)]
        return torch.cat(encoded, dim=-1).permute(0, 3, 1, 2)


def _unpadded(size_hw: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    y, x = (torch.arange(1, n + 1, dtype=torch.float32, device=device) for n in size_hw)
    y, x = torch.meshgrid(_fraction(y, 0), _fraction(x, 0), indexing="ij")
    return y[None], x[None]


def _padded(valid: Tensor) -> tuple[Tensor, Tensor]:
    count = valid.float()
    return _fraction(count.cumsum(1), 1), _fraction(count.cumsum(2), 2)


def _fraction(count: Tensor, dim: int) -> Tensor:
    total = count.narrow(dim, count.shape[dim] - 1, 1)
    return (count - 0.5) / (total + 1e-6)
