"""Write a synthetic detection set to a folder, with COCO and KITTI labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ddetr_data.coco import category_rows, image_row, object_row
from ddetr_data.files import write_whole
from ddetr_data.formats import KittiObject, number_categories, write_classmap, write_kitti
from ddetr_data.images import save_image
from ddetr_data.synthetic.scene import Scene, SceneConfig, SceneObject, draw_scene
from ddetr_data.synthetic.shapes import SHAPES


@dataclass(frozen=True)
class SyntheticDataset:
    """Where the files of a synthetic set are, by split name."""

    folder: Path
    image_dirs: dict[str, Path]
    json_files: dict[str, Path]
    label_dirs: dict[str, Path]  # KITTI
    classmap: Path
    class_names: tuple[str, ...]  # category ids are 1..N in this order


def make_dataset(
    folder: str | Path,
    *,
    num_images: Mapping[str, int] | None = None,
    image_size_hw: tuple[int, int] = (192, 192),
    num_classes: int = 5,
    objects: tuple[int, int] = (2, 6),
    object_size: tuple[float, float] = (0.12, 0.6),
    seed: int = 0,
    image_format: Literal["jpg", "png"] = "jpg",
) -> SyntheticDataset:
    """Draw and label images; the same arguments give the same bytes.

    Image i of a split depends on the seed, the split's name, i and the options alone, so a longer
    set begins like a shorter one. Boxes are the visible extent of an object after clipping and
    occlusion; `area` counts its visible pixels.

    Args:
        folder: gets images/<split>/, annotations/instances_<split>.json, kitti/<split>/label_2/
            and classmap.txt.
        num_images: images of each split, {"train": 200, "val": 50} by default.
        objects: fewest and most objects drawn in an image; those mostly hidden get no label.
        object_size: smallest and largest diameter, as a fraction of the shorter side.

    Raises:
        ValueError: no split, a negative count, or options that SceneConfig refuses.
    """
    counts = {"train": 200, "val": 50} if num_images is None else dict(num_images)
    if not counts or min(counts.values()) < 0:
        raise ValueError(
            f"num_images must name at least one split, with counts from 0 up, got {counts}"
        )
    config = SceneConfig(
        image_size_hw=image_size_hw,
        num_classes=num_classes,
        objects=objects,
        object_size=object_size,
    )
    made = _lay_out(Path(folder), tuple(counts), num_classes)
    for split, count in counts.items():
        scenes = (draw_scene(config, seed, split, index) for index in range(count))
        table = _write_split(made, split, scenes, image_format)
        write_whole(made.json_files[split], json.dumps(table))
    return made


def _lay_out(root: Path, splits: tuple[str, ...], num_classes: int) -> SyntheticDataset:
    """Make the folders and the class list."""
    made = SyntheticDataset(
        folder=root,
        image_dirs={split: root / "images" / split for split in splits},
        json_files={split: root / "annotations" / f"instances_{split}.json" for split in splits},
        label_dirs={split: root / "kitti" / split / "label_2" for split in splits},
        classmap=root / "classmap.txt",
        class_names=tuple(shape.name for shape in SHAPES[:num_classes]),
    )
    for folder in (*made.image_dirs.values(), *made.label_dirs.values(), root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    write_classmap(made.classmap, number_categories(made.class_names))
    return made


def _write_split(
    made: SyntheticDataset, split: str, scenes: Iterable[Scene], image_format: str
) -> dict[str, list[dict[str, Any]]]:
    """Write images and KITTI files one by one; the COCO table of the split comes back."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        file_name = f"{index:06d}.{image_format}"
        save_image(scene.image, made.image_dirs[split] / file_name)
        rows = [_kitti_row(item) for item in scene.objects]
        write_kitti(made.label_dirs[split] / f"{index:06d}.txt", rows)
        images.append(image_row(index + 1, file_name, scene.image.size))
        for number, item in enumerate(scene.objects, start=len(annotations) + 1):
            left, top, right, bottom = item.box_xyxy
            box = (left, top, right - left, bottom - top)
            row = object_row(number, index + 1, item.label + 1, box, item.visible_pixels)
            annotations.append(row)
    categories = category_rows(number_categories(made.class_names))
    return {"images": images, "annotations": annotations, "categories": categories}


def _kitti_row(item: SceneObject) -> KittiObject:
    hidden = 1 - item.visible_fraction / max(1 - item.truncated_fraction, item.visible_fraction)
    return KittiObject(
        name=SHAPES[item.label].name,
        box_xyxy=item.box_xyxy,
        truncated=round(item.truncated_fraction, 2),
        occluded=0 if hidden < 0.1 else 1 if hidden < 0.5 else 2,
    )
