"""COCO JSON of what was found: by the converters, split where a split is missing or listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ddetr_cli.layouts._label_files import class_names, yolo_classes
from ddetr_cli.layouts.found import FoundPart, FoundSet, LayoutError, Source, Split
from ddetr_data import ConvertConfig
from ddetr_data.convert import convert, split_folds
from ddetr_data.files import write_whole

VAL_PERCENT = 10.0
_FORMATS = {"YOLO": "yolo_to_coco", "VOC": "voc_to_coco", "KITTI": "kitti_to_coco"}

Progress = Callable[[int, int], None]


def converted(found: FoundSet, folder: Path, on_progress: Progress) -> list[Source]:
    """Write COCO JSON of YOLO, VOC or KITTI labels into the folder, and give its sources.

    The labels themselves stay as they are; every part has the same class ids.

    Raises:
        DataError: no label is left, or a list of classes cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = _class_key(found, folder)
    sources: list[Source] = []
    for number, part in enumerate(found.parts):
        assert part.pair is not None
        target = folder / f"part-{number:03d}"
        config = ConvertConfig.model_validate(
            {
                "format": _FORMATS[found.kind],
                "input_source": str(part.image_dir),
                "image_dir_name": ".",
                "label_dir_name": _relative(part),
                "results_dir": str(target),
                "num_shards": 1,
                "workers": 1,
                **classes,
            }
        )
        summary = convert(config, on_progress=on_progress)
        for fold in summary.folds:
            for path in fold.json_files:
                image_dir = summary.image_dir or part.image_dir
                if found.split_lists:
                    sources += _by_lists(found, path, image_dir, folder)
                else:
                    sources.append(Source(part.split, image_dir, path))
    return sources


def split_coco(sources: list[Source], folder: Path) -> list[Source]:
    """Take VAL_PERCENT of the images to train on for validation, as `convert`'s val_split does.

    An image is chosen by a hash of its name, and so keeps its split when others are added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    split: list[Source] = []
    for number, source in enumerate(sources):
        if source.split != "train":
            split.append(source)
            continue
        content = json.loads(source.json_file.read_bytes())
        names = [str(image.get("file_name", "")) for image in content["images"]]
        val, _ = split_folds(
            names, [0] * len(names), num_partitions=1, val_split=VAL_PERCENT, mode="random"
        )
        chosen = {names[index] for index in val}
        assigned: Mapping[str, Split] = {
            name: "val" if name in chosen else "train" for name in names
        }
        split += _written(content, assigned, source.image_dir, folder, f"{number:03d}")
    return split


def _by_lists(found: FoundSet, path: Path, image_dir: Path, folder: Path) -> list[Source]:
    """Part the images as lists of stems say; those in no list are left out."""
    content = json.loads(path.read_bytes())
    names = [str(image["file_name"]) for image in content["images"]]
    assigned = {
        name: found.split_lists[PurePosixPath(name).stem]
        for name in names
        if PurePosixPath(name).stem in found.split_lists
    }
    if not assigned:
        raise LayoutError(f"{path}: no image is named by the lists in ImageSets/Main; mend them")
    return _written(content, assigned, image_dir, folder, path.parent.name)


def _written(
    content: dict[str, Any],
    assigned: Mapping[str, Split],
    image_dir: Path,
    folder: Path,
    name: str,
) -> list[Source]:
    """Write a JSON for each split that has images."""
    sources = []
    for split in dict.fromkeys(sorted(assigned.values(), reverse=True)):  # train, test, val
        images = [each for each in content["images"] if assigned.get(each["file_name"]) == split]
        ids = {each["id"] for each in images}
        rows = [each for each in content["annotations"] if each.get("image_id") in ids]
        target = folder / f"{split}-{name}.json"
        write_whole(target, json.dumps({**content, "images": images, "annotations": rows}))
        sources.append(Source(split, image_dir, target))
    return sources


def _class_key(found: FoundSet, folder: Path) -> dict[str, str]:
    """Give the key of `convert` by which each class has one id in all parts."""
    if found.kind == "YOLO":
        if found.classmap is not None:
            return {"classmap": str(found.classmap)}
        names = [f"class_{number}" for number in range(yolo_classes(found))]
        write_whole(folder / "classes.txt", "".join(f"{name}\n" for name in names))
        return {"classmap": str(folder / "classes.txt")}
    all_names = class_names(found, most=None)
    if not all_names:
        raise LayoutError(f"the {found.kind} labels name no class; look at them by hand")
    mapping = folder / "mapping.json"
    write_whole(mapping, json.dumps({name: name for name in all_names}, indent=1))
    return {"mapping_path": str(mapping)}


def _relative(part: FoundPart) -> str:
    assert part.pair is not None
    if part.pair.label_dir == part.image_dir:
        return "."
    shared = part.image_dir
    up: list[str] = []
    while not part.pair.label_dir.is_relative_to(shared):
        shared, up = shared.parent, [*up, ".."]
    return str(Path(*up, part.pair.label_dir.relative_to(shared)))
