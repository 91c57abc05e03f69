"""The splits that a YOLO data.yaml names by their folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ddetr_cli.layouts.found import FoundSet, Split

# The last one holds where several name one folder: without images to train on there is no spec.
_KEYS: dict[str, Split] = {"test": "test", "valid": "val", "val": "val", "train": "train"}


def take_yaml_splits(found: FoundSet, path: Path) -> None:
    """Give parts the splits of a data.yaml; a list of images in a text file is only told."""
    content: Any = yaml.safe_load(path.read_text("utf-8-sig"))
    for key, split in _KEYS.items():
        value = content.get(key)
        for entry in value if isinstance(value, list) else [value] if value else []:
            if str(entry).endswith(".txt"):
                why = f"{key}: {entry} is a list of images; splits are told by folders"
                found.not_understood.append((path, why))
                continue
            folders = list(_folders(path, content.get("path"), str(entry)))
            found.parts = [
                replace(part, split=split)
                if any(part.image_dir.is_relative_to(folder) for folder in folders)
                else part
                for part in found.parts
            ]


def _folders(path: Path, base: object, entry: str) -> Iterator[Path]:
    """Name the folders that an entry may mean; exports say ../train/images for their own."""
    starts = [path.parent, path.parent / str(base)] if base else [path.parent]
    for start in starts:
        for name in (entry, entry.removeprefix("../")):
            folder = (start / name).resolve()
            if folder.is_dir() and folder != path.parent.resolve():
                yield folder
