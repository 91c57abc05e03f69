"""Pictures as the network reads them: resized, normalised, three float planes.

For `DeformableDETR.predict` alone; ddetr_data does the same, to the pixel, for whole datasets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["PUBLISHED_PREPROCESS", "Picture", "read_picture"]

Picture: TypeAlias = "Tensor | Image.Image | NDArray[np.uint8]"

# The evaluation size and the ImageNet statistics that the published models are made for.
PUBLISHED_PREPROCESS: dict[str, Any] = {
    "mode": "shortest_edge",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "shortest_edge": 800,
    "max_size": 1333,
}


def read_picture(picture: Picture, preprocess: Mapping[str, Any]) -> tuple[Tensor, tuple[int, int]]:
    """Make a picture ready; a float tensor is taken to be ready.

    Args:
        picture: a Pillow image, uint8 (H, W, 3) or (H, W) in an array, uint8 (3, H, W) in a
            tensor, or float (3, H, W), resized and normalised before.
        preprocess: of the checkpoint's metadata; mode, mean, std and the sizes in pixels.

    Returns:
        (3, H, W) float32 and the picture's own height and width, in which boxes are to be told.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(picture, Tensor) and picture.is_floating_point():
        if picture.dim() != 3 or picture.shape[0] != 3:
            raise TypeError(f"a tensor must be (3, H, W), got {tuple(picture.shape)}")
        return picture, (picture.shape[1], picture.shape[2])
    opened = _open(picture)
    height, width = _resized_hw(opened.height, opened.width, PUBLISHED_PREPROCESS | {**preprocess})
    resized = opened.resize((width, height), Image.Resampling.BILINEAR)
    planes = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    mean, std = (
        torch.tensor(preprocess.get(name, PUBLISHED_PREPROCESS[name])).reshape(-1, 1, 1)
        for name in ("mean", "std")
    )
    return (planes / 255 - mean) / std, (opened.height, opened.width)


def _open(picture: Picture) -> Image.Image:
    if isinstance(picture, Tensor) and picture.dtype == torch.uint8 and picture.dim() == 3:
        picture = picture.permute(1, 2, 0).cpu().numpy()
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        picture = Image.fromarray(picture)
    if not isinstance(picture, Image.Image) or picture.mode[0] in "IF":
        kind = getattr(picture, "mode", None) or getattr(picture, "dtype", type(picture).__name__)
        raise TypeError(
            "a picture must be a Pillow image of 8 bits a channel, a uint8 array (H, W, 3), a "
            f"uint8 tensor (3, H, W) or a normalised float tensor (3, H, W), got {kind}"
        )
    if picture.has_transparency_data:
        opaque = Image.new("RGBA", picture.size, "white")
        opaque.alpha_composite(picture.convert("RGBA"))
        picture = opaque
    return picture.convert("RGB")


def _resized_hw(height: int, width: int, preprocess: Mapping[str, Any]) -> tuple[int, int]:
    if preprocess["mode"] == "fixed":
        return preprocess["height"], preprocess["width"]
    edge, largest = preprocess["shortest_edge"], preprocess["max_size"]
    short, long = min(height, width), max(height, width)
    new_short, new_long = edge, int(edge * long / short)
    if new_long > largest:
        new_short, new_long = max(1, int(largest * short / long)), largest
    return (new_short, new_long) if height <= width else (new_long, new_short)
