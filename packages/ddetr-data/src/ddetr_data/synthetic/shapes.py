"""The outlines that synthetic objects have: one class each, told apart by form alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SUPERSAMPLE = 2  # masks are drawn this much larger and averaged down, for soft edges
_ARC_POINTS = 48


@dataclass(frozen=True, eq=False)
class Shape:
    """A closed outline inside the unit circle, with an optional hole.

    outline, hole: (N, 2) corners, x then y, -1 to 1.
    """

    name: str
    outline: NDArray[np.float64]
    hole: NDArray[np.float64] | None = None

    @property
    def area(self) -> float:
        """Filled area, in units of the circle's radius squared."""
        return _polygon_area(self.outline) - (
            0.0 if self.hole is None else _polygon_area(self.hole)
        )


def draw_mask(
    shape: Shape,
    transform: NDArray[np.float64],  # (2, 3) from unit coordinates to pixels
    image_size_hw: tuple[int, int],
) -> NDArray[np.float32]:  # (H, W)
    """Cover of each pixel by the transformed shape, 0 to 1; cut off at the image's borders."""
    height, width = image_size_hw
    canvas = Image.new("L", (width * _SUPERSAMPLE, height * _SUPERSAMPLE))
    pen = ImageDraw.Draw(canvas)
    for corners, ink in ((shape.outline, 255), (shape.hole, 0)):
        if corners is not None:
            pixels = (corners @ transform[:, :2].T + transform[:, 2]) * _SUPERSAMPLE
            pen.polygon([(x, y) for x, y in pixels.tolist()], fill=ink)
    levels = np.asarray(canvas.reduce(_SUPERSAMPLE), dtype=np.float32)
    cover: NDArray[np.float32] = levels / np.float32(255)
    return cover


def _polygon_area(corners: NDArray[np.float64]) -> float:
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _arc(radius: float, start: float = 0.0, stop: float = 2 * np.pi) -> NDArray[np.float64]:
    angles = np.linspace(start, stop, _ARC_POINTS, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _regular(corners: int) -> NDArray[np.float64]:
    angles = np.arange(corners) * (2 * np.pi / corners) - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star(points: int, inner_radius: float) -> NDArray[np.float64]:
    corners = _regular(2 * points)
    corners[1::2] *= inner_radius
    return corners


def _cross(half_width: float) -> NDArray[np.float64]:
    arm, w = 0.95, half_width
    quarter = np.array([(w, -arm), (w, -w), (arm, -w)])
    turns = [np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), k) for k in range(4)]
    return np.concatenate([quarter @ turn.T for turn in turns])


def _arrow() -> NDArray[np.float64]:
    tip_and_right = np.array([(0, -1), (0.8, -0.1), (0.3, -0.1), (0.3, 0.95)])
    return np.concatenate([tip_and_right, tip_and_right[:0:-1] * (-1, 1)])


def _crescent() -> NDArray[np.float64]:
    outer = _arc(1.0, np.pi / 3, 5 * np.pi / 3)
    tips = np.array([(0.5, np.sqrt(0.75)), (0.5, -np.sqrt(0.75))])
    inner = _arc(1.0, 4 * np.pi / 3, 2 * np.pi / 3) + np.array([1.0, 0.0])
    return np.concatenate([tips[:1], outer[1:], tips[1:], inner[1:]])


SHAPES: tuple[Shape, ...] = (
    Shape("circle", _arc(0.9)),
    Shape("square", np.array([(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)])),
    Shape("triangle", _regular(3)),
    Shape("star", _star(5, 0.42)),
    Shape("ring", _arc(0.95), hole=_arc(0.5)),
    Shape("cross", _cross(0.3)),
    Shape("crescent", _crescent()),
    Shape("arrow", _arrow()),
)
