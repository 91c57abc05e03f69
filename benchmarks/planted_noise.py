"""Faults planted into COCO labels, each at random by a seed, and the list of what was planted.

An object gets one kind of fault at most. Wrong boxes overlap their true box by an IoU drawn from
WRONG_BOX_IOU, which reaches beyond both limits of what the search takes for a wrong box.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["FRACTIONS", "WRONG_BOX_IOU", "Row", "iou", "plant"]

# Of the objects: dropped, moved, of another class, labelled twice; and boxes around nothing.
FRACTIONS = {"missing": 0.05, "box": 0.05, "class": 0.05, "doubled": 0.03, "spurious": 0.03}
WRONG_BOX_IOU = (0.25, 0.65)
LEAST_TWIN_IOU = 0.75  # of a doubled label and its object
MOST_OVERLAP = 0.1  # of a spurious box and any object of its image
SMALLEST_SIDE = 6  # pixels, of a wrong box
TRIES = 2000

Row = dict[str, Any]


def plant(content: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], list[Row]]:
    """Give COCO content with faults, and a row for each: kind, image_id, annotation_id, bbox.

    `bbox` is the true box of a missing or wrong one, else the box that is in the labels. Of doubled
    labels `twin_id` is the object's own label; a missing one has no annotation_id.
    """
    rng = np.random.default_rng(seed)
    noisy = copy.deepcopy(dict(content))
    sizes = {image["id"]: (image["width"], image["height"]) for image in noisy["images"]}
    classes = [each["id"] for each in noisy["categories"]]
    kinds = [*FRACTIONS, None]
    chances = [*FRACTIONS.values(), 1 - sum(FRACTIONS.values())]
    kept: list[Row] = []
    planted: list[Row] = []
    next_id = max(row["id"] for row in noisy["annotations"]) + 1
    for row in noisy["annotations"]:
        kind = kinds[int(rng.choice(len(kinds), p=chances))]
        fault = {"kind": kind, "image_id": row["image_id"], "annotation_id": row["id"]}
        fault["bbox"] = list(row["bbox"])
        if kind == "missing":
            planted.append(fault | {"annotation_id": None, "category_id": row["category_id"]})
            continue
        kept.append(row)
        if kind == "box":
            row["bbox"] = _wrong_box(row["bbox"], sizes[row["image_id"]], WRONG_BOX_IOU, rng)
        elif kind == "class":
            others = [each for each in classes if each != row["category_id"]]
            fault["category_id"] = row["category_id"]
            row["category_id"] = int(rng.choice(others))
        elif kind in ("doubled", "spurious"):
            added = _added(kind, row, noisy["annotations"], sizes, classes, rng)
            if added is None:
                continue
            kept.append(added | {"id": next_id})
            fault |= {"annotation_id": next_id, "twin_id": row["id"], "bbox": added["bbox"]}
            next_id += 1
        if kind is not None:
            planted.append(fault)
    for row in kept:
        row["area"] = row["bbox"][2] * row["bbox"][3]
    noisy["annotations"] = kept
    return noisy, planted


def iou(first: list[float], second: list[float]) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    start = np.maximum(first[:2], second[:2])
    stop = np.minimum(np.add(first[:2], first[2:]), np.add(second[:2], second[2:]))
    shared = float(np.clip(stop - start, 0, None).prod())
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def _added(
    kind: str,
    row: Row,
    rows: list[Row],
    sizes: Mapping[int, tuple[int, int]],
    classes: list[int],
    rng: np.random.Generator,
) -> Row | None:
    """A second label of an object, or one of the same size around nothing; None without room."""
    width, height = sizes[row["image_id"]]
    if kind == "doubled":
        limits = (LEAST_TWIN_IOU, 0.99)
        return row | {"bbox": _wrong_box(row["bbox"], (width, height), limits, rng)}
    others = [each["bbox"] for each in rows if each["image_id"] == row["image_id"]]
    extent = row["bbox"][2:]
    for _ in range(TRIES):
        corner = [
            float(rng.uniform(0, width - extent[0])),
            float(rng.uniform(0, height - extent[1])),
        ]
        box = [*corner, *extent]
        if all(iou(box, other) < MOST_OVERLAP for other in others):
            return row | {"bbox": box, "category_id": int(rng.choice(classes))}
    return None


def _wrong_box(
    box: list[float],
    size_wh: tuple[int, int],
    limits: tuple[float, float],
    rng: np.random.Generator,
) -> list[float]:
    """Move the four sides at random, inside of the image, to an IoU within the limits."""
    left, top, width, height = box
    spread = 0.6 * (1 - limits[0])
    for _ in range(TRIES):
        shifts = rng.uniform(-spread, spread, 4) * [width, height, width, height]
        sides = np.add([left, top, left + width, top + height], shifts)
        sides = np.clip(sides, 0, [*size_wh, *size_wh])
        moved = [float(sides[0]), float(sides[1]), *map(float, sides[2:] - sides[:2])]
        if min(moved[2:]) >= SMALLEST_SIDE and limits[0] <= iou(moved, box) <= limits[1]:
            return moved
    raise RuntimeError(f"no wrong box for {box} within {limits}")
