"""COCO JSON with its images: whichever folder the file names of each start at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddetr_cli.layouts._inventory import Inventory
from ddetr_cli.layouts.found import FoundPart, FoundSet, split_in
from ddetr_data.files import read_regular

_LONGEST_BYTES = 2 * 2**30  # takes a minute to read
_MOST_FILES = 200
_SAMPLE = 50  # file names that are looked for in a folder
_LEAST_FOUND = 0.5  # of them
_NOT_BOXES = ("captions_", "stuff_", "panoptic_", "person_keypoints_", "image_info_")


@dataclass(frozen=True)
class _Labels:
    """What one JSON file holds."""

    path: Path
    file_names: list[str]
    labelled: int
    classes: tuple[str, ...]
    sizes_wh: list[tuple[int, int]]


def find_coco(inventory: Inventory) -> FoundSet | None:
    """Find JSON files with boxes and the images of each; None where there is no such file."""
    found = FoundSet("COCO", [], (), [])
    taken: dict[Path, set[str]] = {}
    for path in _candidates(inventory, found):
        labels = _read(path, found)
        if labels is None:
            continue
        image_dir = _image_dir(labels, inventory)
        if image_dir is None:
            found.not_understood.append((path, "its images are not below the folder"))
            continue
        repeated = taken.setdefault(image_dir, set()) & set(labels.file_names)
        if repeated:
            found.not_understood.append((path, f"labels {len(repeated)} images a second time"))
            continue
        taken[image_dir] |= set(labels.file_names)
        inside = (*path.relative_to(inventory.root).parts,)
        split = split_in(inside) or "train"
        images = len(labels.file_names)
        found.parts.append(FoundPart(split, image_dir, images, labels.labelled, json_file=path))
        found.class_names = tuple(dict.fromkeys((*found.class_names, *labels.classes)))
        found.sizes_wh += labels.sizes_wh
    return found if found.parts or found.not_understood else None


def _candidates(inventory: Inventory, found: FoundSet) -> Iterator[Path]:
    """Give the JSON files, COCO's own names for boxes first."""
    files = sorted(
        inventory.files_with(".json"),
        key=lambda path: (not path.name.startswith("instances_"), str(path)),
    )
    for path in files[_MOST_FILES:]:
        found.not_understood.append((path, f"more than {_MOST_FILES} JSON files"))
    has_instances = any(path.name.startswith("instances_") for path in files)
    for path in files[:_MOST_FILES]:
        if has_instances and path.name.startswith(_NOT_BOXES):
            found.not_understood.append((path, "no labels of boxes; instances_*.json has them"))
        elif path.stat().st_size > _LONGEST_BYTES:
            found.not_understood.append((path, "larger than 2 GiB, name it in a spec by hand"))
        else:
            yield path


def _read(path: Path, found: FoundSet) -> _Labels | None:
    """Read one file; what is no COCO JSON at all is passed over, unless it seemed to be."""
    try:
        content = json.loads(read_regular(path, "JSON"))
    except (ValueError, OSError, RecursionError) as error:
        found.not_understood.append((path, f"is no JSON: {error}"))
        return None
    if not isinstance(content, dict) or not {"images", "annotations"} & content.keys():
        return None  # another program's notes
    images, rows = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(rows, list) or not images:
        found.not_understood.append((path, "has no list of images, or none of annotations"))
        return None
    names = [str(each["file_name"]) for each in _dicts(images) if each.get("file_name")]
    labelled = {row["image_id"] for row in _dicts(rows) if row.get("bbox") and _has_id(row)}
    categories = content.get("categories")
    classes = _dicts(categories) if isinstance(categories, list) else []
    return _Labels(
        path,
        names,
        len(labelled),
        tuple(str(each.get("name", each.get("id"))) for each in classes),
        [(each["width"], each["height"]) for each in _dicts(images[:_SAMPLE]) if _has_size(each)],
    )


def _dicts(rows: list[Any]) -> list[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, dict)]


def _has_id(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("image_id"), (int, str))


def _has_size(image: Mapping[str, Any]) -> bool:
    return all(isinstance(image.get(side), int) for side in ("width", "height"))


def _image_dir(labels: _Labels, inventory: Inventory) -> Path | None:
    """Find the folder that the file names start at: where most of some of them are."""
    step = max(len(labels.file_names) // _SAMPLE, 1)
    sample = labels.file_names[::step][:_SAMPLE]
    split = split_in(labels.path.relative_to(inventory.root).parts)

    def rank(folder: Path) -> tuple[int, bool, bool]:
        there = sum(os.path.isfile(folder / name) for name in sample)
        of_split = split_in(folder.relative_to(inventory.root).parts) == split
        return there, of_split, folder == labels.path.parent

    folders = _places(labels.path, inventory)
    best = max(folders, key=rank)
    return best if rank(best)[0] >= max(_LEAST_FOUND * len(sample), 1) else None


def _places(path: Path, inventory: Inventory) -> list[Path]:
    """Name the folders that a file name could start at: those of images, and those around them."""
    around = [path.parent, inventory.root]
    for folder in inventory.image_folders:
        inside = folder.path.relative_to(inventory.root).parts
        around += [inventory.root.joinpath(*inside[:length]) for length in range(len(inside) + 1)]
    return list(dict.fromkeys(around))
