"""Looking at a folder: which of the known layouts it has."""

from __future__ import annotations

from pathlib import Path

from ddetr_cli.layouts._coco import find_coco
from ddetr_cli.layouts._inventory import Progress, take_inventory
from ddetr_cli.layouts._label_files import find_label_files
from ddetr_cli.layouts.found import FoundSet, LayoutError

MOST_FILES = 500_000
_LOOKED_FOR = (
    "COCO JSON and its images (annotations/*.json, or one beside the images, as Roboflow's), YOLO "
    "(images/ and labels/ with data.yaml), VOC (JPEGImages/ and Annotations/) or KITTI (image_2/ "
    "and label_2/)"
)


def find_layout(root: Path, on_progress: Progress, *, most_files: int = MOST_FILES) -> FoundSet:
    """Find the labelled images in a folder; COCO JSON wins over other labels beside it.

    Args:
        root: the folder.
        on_progress: called with the files seen.
        most_files: that are looked at.

    Raises:
        LayoutError: there is nothing that is known; the text says what was looked for.
    """
    if not root.is_dir():
        raise LayoutError(f"{root} is no folder; give the one that holds images and labels")
    inventory = take_inventory(root.resolve(), most_files, on_progress)
    cut = f"only the first {most_files} files were looked at, name a smaller folder"
    coco = find_coco(inventory)
    found = coco if coco is not None and coco.parts else find_label_files(inventory)
    if found is None or not found.parts:
        images = sum(len(folder.images) for folder in inventory.image_folders)
        why = f"{root} has {inventory.files} files, {images} of them images, and no labels of them"
        odd = [f"{path.name}: {text}" for path, text in (coco.not_understood[:3] if coco else [])]
        odd += [cut] if inventory.is_cut else []
        seen = f" ({'; '.join(odd)})" if odd else ""
        raise LayoutError(f"{why}{seen}; looked for {_LOOKED_FOR}; give the folder of one of these")
    if coco is not None and found is not coco:
        found.not_understood += coco.not_understood
    if inventory.is_cut:
        found.not_understood.append((root, cut))
    return found
