"""Folders of one label file an image: YOLO, Pascal VOC and KITTI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ddetr_cli.layouts._inventory import Folder, Inventory
from ddetr_cli.layouts._yolo_splits import take_yaml_splits
from ddetr_cli.layouts.found import FoundPart, FoundSet, Kind, LabelPair, Split, split_in
from ddetr_data import DataError
from ddetr_data.formats import (
    DONT_CARE,
    KittiError,
    KittiObject,
    read_classmap,
    read_kitti_lines,
    read_label_text,
    read_voc_names,
)
from ddetr_data.images import read_image_size_wh

_LABELS_OF = {"images": "labels", "JPEGImages": "Annotations", "image_2": "label_2"}
_LABELS_OF |= {"image": "label", "imgs": "labels"}
_FIRST_FILES = 20  # of which the format is told
_MOST_READ = 2000  # label files of which the class names are read, to tell them
_IMAGES_MEASURED = 50
_NAME_LISTS = ("classes.txt", "obj.names", "classmap.txt")


def find_label_files(inventory: Inventory) -> FoundSet | None:
    """Find folders of images with label files, all of one format; None where there are none."""
    found: FoundSet | None = None
    for ending in (".xml", ".txt"):
        for pair in _pairs(inventory, ending):
            kind = _kind_of(pair, ending)
            if kind is None:
                continue
            found = found or FoundSet(kind, [], (), [])
            if kind != found.kind:
                why = f"{kind} labels beside {found.kind}'s, of which the spec is made"
                found.not_understood.append((pair.label_dir, why))
                continue
            inside = pair.image_dir.relative_to(inventory.root).parts
            split = split_in(inside) or "train"
            found.parts.append(
                FoundPart(split, pair.image_dir, pair.images, pair.labelled, pair=pair)
            )
    if found is None:
        return None
    _tell_unlabelled(found, inventory)
    _read_lists(found, inventory)
    found.sizes_wh = list(_sizes(found))
    return found


def label_files(found: FoundSet, most: int | None = None) -> list[Path]:
    """Name the label files of all parts, in a stable order; at most so many."""
    ending = ".xml" if found.kind == "VOC" else ".txt"
    files: list[Path] = []
    for part in found.parts:
        if part.pair is not None:
            named = (each for each in part.pair.label_dir.rglob(f"*{ending}") if each.is_file())
            files += sorted(each for each in named if each.name not in _NAME_LISTS)
    return files[:most]


def class_names(found: FoundSet, most: int | None = _MOST_READ) -> tuple[str, ...]:
    """Read which classes the label files name, sorted; of YOLO's the list of names.

    Args:
        found: labels of one kind.
        most: files that are read; None reads all.
    """
    if found.kind == "YOLO":
        return () if found.classmap is None else read_classmap(found.classmap)
    names: set[str] = set()
    for path in label_files(found, most):
        names |= set(_names_in(path, found.kind))
    return tuple(sorted(names - {DONT_CARE, ""}))


def yolo_classes(found: FoundSet) -> int:
    """Count the class numbers that YOLO's labels have, the largest and 1."""
    numbers = [-1]
    for path in label_files(found):
        for line in _lines_of(path):
            first = line.split()[:1]
            numbers += [int(word) for word in first if word.isdecimal()]
    return max(numbers) + 1


def _names_in(path: Path, kind: Kind) -> Iterator[str]:
    """Name what a label file holds; what cannot be read `ddetr check` and the conversion tell."""
    try:
        if kind == "VOC":
            yield from read_voc_names(path) or ()
        else:
            for _, item in read_kitti_lines(path):
                if isinstance(item, KittiObject):
                    yield item.name
    except (OSError, KittiError):
        return


def _lines_of(path: Path) -> list[str]:
    """The lines of a label file that are not blank; none of what cannot be read."""
    try:
        text, _ = read_label_text(path)
    except (OSError, ValueError):
        return []
    return [line for line in text.splitlines() if line.strip()]


def _pairs(inventory: Inventory, ending: str) -> Iterator[LabelPair]:
    """Pair each folder of images with that of its labels; the outermost of nested ones."""
    outer: list[Path] = []
    for folder in inventory.image_folders:
        if any(folder.path.is_relative_to(each) for each in outer):
            continue
        for labels in _label_dirs(folder.path, inventory):
            labelled = _labelled(folder, inventory.folders.get(labels), ending)
            if labelled:
                outer.append(folder.path)
                yield LabelPair(folder.path, labels, len(folder.images), labelled)
                break


def _label_dirs(images: Path, inventory: Inventory) -> Iterator[Path]:
    inside = images.relative_to(inventory.root).parts
    for index in range(len(inside) - 1, -1, -1):
        if inside[index] in _LABELS_OF:
            changed = (*inside[:index], _LABELS_OF[inside[index]], *inside[index + 1 :])
            yield inventory.root.joinpath(*changed)
    yield images


def _labelled(images: Folder, labels: Folder | None, ending: str) -> int:
    """Count the images that have a label file there."""
    if labels is None:
        return 0
    stems = {os.path.splitext(name)[0] for name in labels.names(ending)}
    return sum(os.path.splitext(name)[0] in stems for name in images.images)


def _kind_of(pair: LabelPair, ending: str) -> Kind | None:
    """Tell the format by the first labels that hold an object."""
    files = sorted(pair.label_dir.glob(f"*{ending}"))[:_FIRST_FILES]
    for path in files:
        if ending == ".xml":
            if read_voc_names(path) is not None:
                return "VOC"
            continue
        lines = _lines_of(path)
        if path.name in _NAME_LISTS or not lines:
            continue
        if _is_yolo(lines[0]):
            return "YOLO"
        if any(_names_in(path, "KITTI")):
            return "KITTI"
    return None


def _is_yolo(line: str) -> bool:
    words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(words) >= 5 and words[0].isdecimal() and all(-1 <= x <= 2 for x in numbers[1:5])


def _tell_unlabelled(found: FoundSet, inventory: Inventory) -> None:
    paired = [part.image_dir for part in found.parts]
    for folder in inventory.image_folders:
        if not any(folder.path.is_relative_to(each) for each in paired):
            found.not_understood.append((folder.path, f"{len(folder.images)} images, no labels"))


def _read_lists(found: FoundSet, inventory: Inventory) -> None:
    """Read what stands beside the labels: names of YOLO's classes, VOC's lists of splits."""
    if found.kind == "YOLO":
        yaml_files = inventory.files_with(".yaml") + inventory.files_with(".yml")
        lists = [path for path in inventory.files_with(".txt") if path.name in _NAME_LISTS]
        for path in (*sorted(yaml_files, key=lambda each: len(each.parts)), *lists):
            try:
                read_classmap(path)
            except (DataError, OSError) as error:
                found.not_understood.append((path, str(error)))
                continue
            found.classmap = path
            if path not in lists:
                take_yaml_splits(found, path)
            break
    if found.kind == "VOC":
        found.split_lists = dict(_voc_splits(inventory))
    found.class_names = class_names(found)


def _voc_splits(inventory: Inventory) -> Iterator[tuple[str, Split]]:
    """Give the stem of each image that ImageSets/Main lists, the test split first."""
    for split in ("test", "val", "train"):
        for path in inventory.files_with(".txt"):
            if "ImageSets" in path.parts and path.name == f"{split}.txt":
                for line in _lines_of(path):
                    yield line.split()[0], split


def _sizes(found: FoundSet) -> Iterator[tuple[int, int]]:
    for part in found.parts:
        images = sorted(each for each in part.image_dir.iterdir() if each.is_file())
        for path in images[:_IMAGES_MEASURED]:
            try:
                yield read_image_size_wh(path)
            except (OSError, ValueError):
                continue  # no image, or one that `ddetr check` names
