"""One synthetic image: textured ground, distractors, objects that hide each other."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field, model_validator

from ddetr_data.config import FrozenModel
from ddetr_data.synthetic._textures import (
    contrasting_color,
    fill_texture,
    ground_texture,
    random_color,
)
from ddetr_data.synthetic.shapes import SHAPES, draw_mask

# H, W pixels of the image; N objects.
_SOLID = 0.5  # cover from which a pixel belongs to an object
_TRIES = 10  # to find a position where an object hides little of the others


class SceneConfig(FrozenModel):
    """What the images of a synthetic set show."""

    image_size_hw: tuple[int, int] = Field(
        (192, 192), description="Height and width in pixels, 32 at least."
    )
    num_classes: int = Field(
        5, ge=1, le=len(SHAPES), description="How many of the shapes are used."
    )
    objects: tuple[int, int] = Field(
        (2, 6), description="Fewest and most objects drawn in an image."
    )
    object_size: tuple[float, float] = Field(
        (0.12, 0.6),
        description="Smallest and largest diameter, as a fraction of the image's shorter side.",
    )
    truncated_prob: float = Field(
        0.2, ge=0, le=1, description="Fraction of objects that may cross the border."
    )
    distractors: tuple[int, int] = Field(
        (2, 6), description="Fewest and most lines and specks without a label."
    )
    noise: float = Field(
        6.0, ge=0, le=64, description="Standard deviation of the pixel noise, of 255."
    )
    min_visible: float = Field(
        0.35, gt=0, le=1, description="Fraction of an object that must be seen for a label."
    )

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> SceneConfig:
        if min(self.image_size_hw) < 32:
            raise ValueError(f"image_size_hw must be at least 32 each, got {self.image_size_hw}")
        for name in ("objects", "object_size", "distractors"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(
                    f"{name} must be a range (low, high) from 0 up, got ({low}, {high})"
                )
        if not 0.02 <= self.object_size[0] <= self.object_size[1] <= 1:
            raise ValueError(f"object_size must lie between 0.02 and 1, got {self.object_size}")
        return self


@dataclass(frozen=True)
class SceneObject:
    """A labelled object: its class (an index into SHAPES) and the extent of what is seen of it."""

    label: int
    box_xyxy: tuple[float, float, float, float]  # whole pixels, right and bottom exclusive
    visible_pixels: int
    visible_fraction: (
        float  # of the object, whose hidden parts and those outside the image count too
    )
    truncated_fraction: float  # of the object, outside the image


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and its labels, from back to front."""

    image: Image.Image
    objects: tuple[SceneObject, ...]


def draw_scene(config: SceneConfig, seed: int, split: str, index: int) -> Scene:
    """Draw image `index` of a split; a function of its arguments, whatever was drawn before."""
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    canvas = ground_texture(rng, config.image_size_hw)
    canvas = _draw_distractors(rng, canvas, config.distractors)
    owner = np.full(
        config.image_size_hw, -1, dtype=np.int16
    )  # (H, W), index of the object in front
    items: list[_Item] = []
    for number in range(int(rng.integers(config.objects[0], config.objects[1] + 1))):
        item = _draw_item(rng, config, items)
        cover = draw_mask(SHAPES[item.label], item.transform, config.image_size_hw)
        color = contrasting_color(rng, _mean_color(canvas, cover))
        surface = fill_texture(rng, config.image_size_hw, color, 2 * item.radius)
        canvas += cover[..., None] * (surface - canvas)
        owner[cover >= _SOLID] = number
        items.append(item)
    return Scene(_develop(rng, canvas, config.noise), _labels(config, items, owner))


@dataclass(frozen=True, eq=False)
class _Item:
    """An object with its position, before its visible part is known."""

    label: int
    transform: NDArray[np.float64]  # (2, 3)
    center_xy: tuple[float, float]
    radius: float  # of the circle around the object, in pixels

    @property
    def area(self) -> float:
        """Pixels of the object, hidden and outside parts too."""
        return SHAPES[self.label].area * float(abs(np.linalg.det(self.transform[:, :2])))


def _draw_item(rng: np.random.Generator, config: SceneConfig, items: list[_Item]) -> _Item:
    """Draw class, size, turn and stretch, then a position: overlaps happen, but stay small."""
    height, width = config.image_size_hw
    label = int(rng.integers(config.num_classes))
    radius = rng.uniform(*config.object_size) * min(height, width) / 2
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([radius, radius * stretch])
    margin = 0.0 if rng.random() < config.truncated_prob else radius
    allowed = rng.uniform(0.0, 0.6)
    center = (width / 2, height / 2)
    for _ in range(_TRIES):
        center = (_between(rng, margin, width), _between(rng, margin, height))
        if all(_overlap(center, radius, other) <= allowed for other in items):
            break
    return _Item(label, np.column_stack([matrix, center]), center, radius)


def _between(rng: np.random.Generator, margin: float, side: int) -> float:
    margin = min(margin, side / 2)
    return float(rng.uniform(margin, side - margin))


def _overlap(center_xy: tuple[float, float], radius: float, other: _Item) -> float:
    """How deep two circles reach into each other, as a fraction of the smaller diameter."""
    distance = float(np.hypot(center_xy[0] - other.center_xy[0], center_xy[1] - other.center_xy[1]))
    return (radius + other.radius - distance) / (2 * min(radius, other.radius))


def _labels(
    config: SceneConfig, items: list[_Item], owner: NDArray[np.int16]
) -> tuple[SceneObject, ...]:
    """Measure what is seen of every object; those mostly hidden or outside get no label."""
    labels = []
    for number, item in enumerate(items):
        rows, columns = np.nonzero(owner == number)
        visible_fraction = min(rows.size / item.area, 1.0)
        if visible_fraction < config.min_visible or rows.size == 0:
            continue
        inside = np.count_nonzero(
            draw_mask(SHAPES[item.label], item.transform, config.image_size_hw) >= _SOLID
        )
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        labels.append(
            SceneObject(
                label=item.label,
                box_xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                visible_pixels=int(rows.size),
                visible_fraction=visible_fraction,
                truncated_fraction=max(0.0, 1 - inside / item.area),
            )
        )
    return tuple(labels)


def _draw_distractors(
    rng: np.random.Generator, canvas: NDArray[np.float32], count_range: tuple[int, int]
) -> NDArray[np.float32]:
    """Lines and specks that belong to no class, behind the objects."""
    height, width, _ = canvas.shape
    image = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(count_range[0], count_range[1] + 1))):
        color = tuple(int(value) for value in random_color(rng))
        x, y, x2, y2 = (rng.uniform(0, 1, 4) * (width, height, width, height)).tolist()
        if rng.random() < 0.5:
            pen.line([(x, y), (x2, y2)], fill=color, width=int(rng.integers(1, 4)))
        else:
            speck = rng.uniform(0.01, 0.03) * min(height, width)
            pen.ellipse([x - speck, y - speck, x + speck, y + speck], fill=color)
    return np.array(image, dtype=np.float32)


def _mean_color(
    canvas: NDArray[np.float32], cover: NDArray[np.float32]
) -> NDArray[np.float32]:  # (3,)
    inside = canvas[cover >= _SOLID].reshape(-1, 3)
    mean: NDArray[np.float32] = (inside if len(inside) else canvas.reshape(-1, 3)).mean(axis=0)
    return mean


def _develop(rng: np.random.Generator, canvas: NDArray[np.float32], noise: float) -> Image.Image:
    """Add exposure and pixel noise and turn the (H, W, 3) floats into an image."""
    exposed = (canvas - 127) * rng.uniform(0.8, 1.15) + 127 + rng.uniform(-12, 12)
    noisy = exposed + noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
