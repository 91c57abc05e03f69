"""The one way from an image to a network's input, for evaluation, inference and export alike.

B images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationError, model_validator

from ddetr_data.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AugmentationConfig,
    DatasetConfig,
    FrozenModel,
)
from ddetr_data.faults import DataError
from ddetr_data.images._rgb import to_rgb, unpacks_upper_bytes
from ddetr_data.images.decoding import read_image
from ddetr_data.images.orientation import upright
from ddetr_data.images.white_levels import USUAL_WHITE, WhiteLevels
from ddetr_data.locations import RemoteFile
from ddetr_data.types import ImageLike


class PreprocessConfig(FrozenModel):
    """What happens to an image before the network; it travels inside checkpoints and ONNX files."""

    mean: tuple[float, ...] = Field(
        IMAGENET_MEAN, description="Mean of each channel, of pixels from 0 to 1; 1 or 3."
    )
    std: tuple[float, ...] = Field(
        IMAGENET_STD, description="Deviation of each channel, likewise; 1 or 3 values."
    )
    mode: Literal["shortest_edge", "fixed"] = Field(
        "shortest_edge", description="Keep the shape within limits, or stretch to one size."
    )
    shortest_edge: int = Field(800, gt=0, description="Short side in pixels, by shortest_edge.")
    max_size: int = Field(1333, gt=0, description="Largest long side in pixels, by shortest_edge.")
    height: int | None = Field(None, gt=0, description="Height in pixels, by fixed.")
    width: int | None = Field(None, gt=0, description="Width in pixels, by fixed.")
    integer_white_level: float | None = Field(
        None, gt=0, description="What is white in images of 16- or 32-bit whole numbers."
    )
    float_white_level: float | None = Field(
        None, gt=0, description="What is white in images of floats."
    )

    @model_validator(mode="after")
    def _agree(self) -> PreprocessConfig:
        if len(self.mean) not in (1, 3) or len(self.std) not in (1, 3) or min(self.std) <= 0:
            raise ValueError(
                "mean and std must have 1 or 3 values, std above 0, got "
                f"{list(self.mean)} and {list(self.std)}"
            )
        if self.mode == "fixed" and (self.height is None or self.width is None):
            raise ValueError(
                f"mode fixed needs height and width, got height {self.height}, width {self.width}"
            )
        return self

    @property
    def white(self) -> WhiteLevels:
        """Which values are white in images of more than 8 bits a channel."""
        return WhiteLevels(self.integer_white_level, self.float_white_level)

    @property
    def resizing(self) -> str:
        """What happens to an image's size, in words."""
        if self.mode == "fixed":
            return f"stretched to {self.height} x {self.width} pixels (height x width)"
        return f"resized to a short side of {self.shortest_edge} pixels, {self.max_size} at most"

    @classmethod
    def of_file(cls, stored: Mapping[str, Any] | None, source: str) -> PreprocessConfig:
        """Take what a checkpoint or an exported file says of it; source is the file's name.

        Raises:
            DataError: it says something that cannot be.
        """
        try:
            return cls(**(stored or {}))
        except (ValidationError, TypeError) as error:
            text = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"])
                text = ": ".join(filter(None, (field, first["msg"].removeprefix("Value error, "))))
            raise DataError(f"{source} has bad metadata: preprocess: {text}") from error

    @classmethod
    def from_augmentation(cls, augmentation: AugmentationConfig) -> PreprocessConfig:
        """Take the evaluation part of a spec."""
        return cls(
            mean=augmentation.input_mean,
            std=augmentation.input_std,
            shortest_edge=augmentation.test_random_resize,
            max_size=augmentation.random_resize_max_size,
        )

    def with_white(self, white: WhiteLevels) -> PreprocessConfig:
        """Give the same, but with other white levels."""
        levels = {"integer_white_level": white.integer, "float_white_level": white.floating}
        return self.model_validate({**self.model_dump(), **levels})

    def fixed_to(self, height: int, width: int) -> PreprocessConfig:
        """Give the same, but with images stretched to one size in pixels."""
        fixed = {"mode": "fixed", "height": height, "width": width}
        return self.model_validate({**self.model_dump(), **fixed})


def dataset_white(dataset: DatasetConfig) -> WhiteLevels:
    """The white levels that a spec fixes."""
    return WhiteLevels(dataset.integer_white_level, dataset.float_white_level)


def resized_hw(height: int, width: int, config: PreprocessConfig) -> tuple[int, int]:
    """Size in pixels that an image of height x width is brought to."""
    if config.height is not None and config.width is not None and config.mode == "fixed":
        return config.height, config.width
    return shortest_edge_hw(height, width, config.shortest_edge, config.max_size)


def shortest_edge_hw(height: int, width: int, edge: int, max_size: int) -> tuple[int, int]:
    """Scale so that the short side is edge, or, if that makes it too long, the long side max_size.

    The side that is not given is cut to whole pixels and is at least 1.
    """
    short, long = min(height, width), max(height, width)
    new_short, new_long = edge, int(edge * long / short)
    if new_long > max_size:
        new_short, new_long = max(1, int(max_size * short / long)), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)


def image_batches(images: Sequence[ImageLike], batch_size: int) -> Iterator[Sequence[ImageLike]]:
    """Divide the images that `predict` is given into batches.

    Raises:
        TypeError: it is a single image.
    """
    if isinstance(images, (str, Path)) or not isinstance(images, Sequence):
        raise TypeError("predict takes a list of images; put a single one in brackets")
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def open_image(image: ImageLike, white: WhiteLevels = USUAL_WHITE) -> Image.Image:
    """Give an image as RGB, the way up that its EXIF data says.

    Args:
        image: a path; a Pillow image of any mode; or an array: (H, W, 3) or (H, W, 4) in RGB, or
            grey (H, W) or (H, W, 1), uint8 or uint16. A Pillow image of 16-bit colours that is
            decoded already has no more than 8 bits of them.
        white: which value of more than 8 bits is white.

    Raises:
        FileNotFoundError, DataError: the file is missing or damaged, or there is not one pixel.
        TypeError: it is something else.
    """
    if isinstance(image, (str, Path, RemoteFile)):
        return read_image(image, white=white)
    opened, lower = _from_array(image) if isinstance(image, np.ndarray) else (image, None)
    if not isinstance(opened, Image.Image):
        kind = type(image).__name__
        raise TypeError(f"an image must be a path, a Pillow image or an array, got {kind}")
    if not all(opened.size):
        raise DataError("an image must have at least one pixel, got one without any")
    if unpacks_upper_bytes(opened) and (content := _content_of(opened)):
        return read_image(content, white=white)
    return to_rgb(upright(opened), white, lower)


def _from_array(array: NDArray[Any]) -> tuple[Image.Image, Image.Image | None]:
    """The image of an array, and of 16-bit colours the lower bytes."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise TypeError(f"an image array must be (H, W, 3) or (H, W), got {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"an image array must be uint8, 0 to 255, got {array.dtype}")
    if array.ndim == 2 or array.dtype == np.uint8:
        return Image.fromarray(array), None
    upper, lower = (part.astype(np.uint8) for part in (array >> 8, array & 255))
    return Image.fromarray(upper), Image.fromarray(lower)


def _content_of(image: Image.Image) -> bytes:
    """What the file of an opened image holds; nothing where it is closed."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return b""
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


def preprocess(image: ImageLike, config: PreprocessConfig) -> NDArray[np.float32]:
    """Read, resize (bilinear, antialiased) and normalise; gives (3, H, W)."""
    opened = open_image(image, config.white)
    height, width = resized_hw(opened.height, opened.width, config)
    if (width, height) != opened.size:
        opened = opened.resize((width, height), Image.Resampling.BILINEAR)
    return normalize(np.asarray(opened), config.mean, config.std)


def normalize(
    pixels: NDArray[np.uint8],  # (H, W, 3)
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[np.float32]:
    """Give (pixels / 255 - mean) / std as (3, H, W)."""
    means, stds = (np.broadcast_to(np.asarray(value, np.float32), 3) for value in (mean, std))
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, plane in enumerate(planes):  # plane by plane, each small enough for the cache
        np.subtract(pixels[:, :, channel], 255 * means[channel], out=plane)
        plane *= 1 / (255 * stds[channel])
    return planes


def pad_batch(
    pixels: Sequence[NDArray[np.float32]],  # B times (3, H_i, W_i)
    size_hw: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Stack images of different sizes; each stands at the top left, the rest is zero.

    At the top left, so that a pixel's coordinates are the same with and without padding, and boxes
    need no offset. Zero is the mean colour of a normalised image.

    Returns:
        images (B, 3, H, W), and mask (B, H, W), true on padding. H x W is size_hw, or else the
        largest height and the largest width.

    Raises:
        ValueError: there is no image, or one is larger than size_hw.
    """
    if not pixels:
        raise ValueError("a batch needs at least one image, got none")
    largest_hw = tuple(max(image.shape[axis] for image in pixels) for axis in (1, 2))
    height, width = size_hw or largest_hw
    if largest_hw[0] > height or largest_hw[1] > width:
        raise ValueError(f"images of up to {largest_hw} (h, w) do not fit into {(height, width)}")
    images = np.zeros((len(pixels), 3, height, width), np.float32)
    mask = np.ones((len(pixels), height, width), np.bool_)
    for index, image in enumerate(pixels):
        images[index, :, : image.shape[1], : image.shape[2]] = image
        mask[index, : image.shape[1], : image.shape[2]] = False
    return images, mask
