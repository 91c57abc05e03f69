"""Other light and other colours: brightness, contrast, saturation and hue of a training image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as F

# At strength 1; half of it is what many recipes take (0.4, 0.4, 0.4 and 0.1).
_LARGEST_CHANGE = 0.8  # of the factors, from 1
_LARGEST_TURN = 0.2  # of the hue, in turns of the colour circle


class ColorJitter(NamedTuple):
    """What is done to the colours of one image, in this order."""

    brightness: float  # factor on every channel
    contrast: float  # factor on the distance from the image's mean grey
    saturation: float  # factor on the distance from each pixel's grey
    hue: float  # turn of the colour circle, from -0.5 to 0.5

    def apply(
        self,
        planes: Tensor,  # (3, H, W) uint8
    ) -> Tensor:
        """Give other pixels of the same shape and type; grey ones stay grey."""
        # Pillow turns the hue in half the time that tensors take, which is most of the whole.
        image = F.to_pil_image(planes)
        image = F.adjust_brightness(image, self.brightness)
        image = F.adjust_contrast(image, self.contrast)
        image = F.adjust_saturation(image, self.saturation)
        changed: Tensor = F.pil_to_tensor(F.adjust_hue(image, self.hue))
        return changed


def draw_color_jitter(strength: float, rng: np.random.Generator) -> ColorJitter | None:
    """Draw factors from 1 - 0.8 strength to 1 + 0.8 strength, and a turn of at most 0.2 strength.

    Strength 0 gives None, and takes no number from rng.
    """
    if strength == 0:
        return None
    change, turn = _LARGEST_CHANGE * strength, _LARGEST_TURN * strength
    brightness, contrast, saturation = rng.uniform(1 - change, 1 + change, 3).tolist()
    return ColorJitter(brightness, contrast, saturation, float(rng.uniform(-turn, turn)))
