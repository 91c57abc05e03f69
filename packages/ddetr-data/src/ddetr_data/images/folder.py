"""Find image files in folders, and say under which name their results are kept."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from ddetr_data.faults import DataError
from ddetr_data.locations import is_url

__all__ = ["IMAGE_EXTENSIONS", "find_images", "walk_images"]

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".ppm", ".pgm"}
    | {".tif", ".tiff", ".webp"}
)  # lower case; files are matched ignoring case


def find_images(
    image_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[tuple[Path, Path]]:
    """All images of a folder (with its sub-folders), a single file, or a list of both.

    Returns:
        (path, relative path) sorted by relative path. Relative paths are unique: they start at the
        folder, or at the deepest folder that all entries of a list share.

    Raises:
        FileNotFoundError: an entry does not exist, or there is no image at all.
        ValueError: a file that is no image by its ending, or a URL.
    """
    entries = [image_dir] if isinstance(image_dir, (str, os.PathLike)) else list(image_dir)
    for entry in entries:
        if is_url(entry):
            raise DataError(
                f"{entry} is a URL, give a folder of this machine; copy them here first"
            )
    paths = [Path(os.path.abspath(entry)) for entry in entries]
    found: set[Path] = set()
    for path in paths:
        found.update(_images_of(path))
    if not found:
        raise FileNotFoundError(
            f"no images in {', '.join(map(str, entries)) or 'an empty list'} "
            f"(looked for {' '.join(sorted(IMAGE_EXTENSIONS))})"
        )
    return named_below(found, paths)


def named_below(found: Iterable[Path], paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pair files with their path below the folder that all given places share, sorted by it."""
    roots = [path if path.is_dir() else path.parent for path in paths]
    base = Path(os.path.commonpath(roots)) if roots else Path()
    return sorted(((path, path.relative_to(base)) for path in found), key=lambda pair: pair[1])


def walk_images(folder: Path) -> Iterator[Path]:
    """Images below a folder, as walk_files."""
    return walk_files(folder, IMAGE_EXTENSIONS)


def walk_files(folder: Path, endings: Collection[str]) -> Iterator[Path]:
    """Files below a folder in a stable order; links to folders are followed, circles are not.

    Hidden files and folders are left out: they are other programs' thumbnails and leftovers.

    Args:
        endings: of the wanted files, in lower case with their dot.
    """
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings:
                yield Path(parent, name)


def _images_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from walk_images(path)
    elif not path.exists():
        raise FileNotFoundError(f"no such image file or folder: {path}")
    elif not _has_image_ending(path.name):
        endings = " ".join(sorted(IMAGE_EXTENSIONS))
        raise ValueError(f"{path} is not an image by its ending; known are {endings}")
    else:
        yield path


def _has_image_ending(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS
