"""What lies in a folder, by the kinds of files that labelled sets are made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ddetr_data.images import has_image_ending

_LABEL_ENDINGS = (".txt", ".xml", ".json", ".yaml", ".yml")
_FILES_BETWEEN_WORDS = 10_000

Progress = Callable[[int, "int | None"], None]  # files seen, and in all where that is known


@dataclass
class Folder:
    """The files of one folder, without those of its sub-folders; names are sorted."""

    path: Path
    images: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)  # ending -> names

    def names(self, ending: str) -> list[str]:
        """Name the files with an ending, which has its dot."""
        return self.others.get(ending, [])


@dataclass
class Inventory:
    """All folders below the one that was asked about."""

    root: Path
    folders: dict[Path, Folder] = field(default_factory=dict)
    files: int = 0
    is_cut: bool = False  # there was more than may be looked at

    @property
    def image_folders(self) -> list[Folder]:
        """Folders that hold images, outer ones first."""
        return [folder for folder in self.folders.values() if folder.images]

    def files_with(self, ending: str) -> list[Path]:
        """Every file with an ending."""
        return [
            folder.path / name for folder in self.folders.values() for name in folder.names(ending)
        ]


def take_inventory(root: Path, most_files: int, on_progress: Progress) -> Inventory:
    """Walk the folder; hidden files are left out, and links to folders are not followed.

    Args:
        root: where to begin.
        most_files: that are looked at; then the inventory is cut.
        on_progress: called now and then.
    """
    found = Inventory(root)
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Folder(Path(parent))
        for name in sorted(name for name in files if not name.startswith(".")):
            ending = os.path.splitext(name)[1].lower()
            if has_image_ending(name):
                folder.images.append(name)
            elif ending in _LABEL_ENDINGS:
                folder.others.setdefault(ending, []).append(name)
        before, found.files = found.files, found.files + len(files)
        if folder.images or folder.others:
            found.folders[folder.path] = folder
        if before // _FILES_BETWEEN_WORDS != found.files // _FILES_BETWEEN_WORDS:
            on_progress(found.files, None)
        if found.files >= most_files:
            found.is_cut = True
            break
    return found
