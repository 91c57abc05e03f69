"""Find image files in folders, and say under which name their results are kept."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from ddetr_data.faults import DataError
from ddetr_data.images.kinds import (
    IMAGE_ENDINGS,
    OTHER_IMAGE_ENDINGS,
    ending_of,
    has_image_ending,
)
from ddetr_data.locations import is_url

logger = logging.getLogger(__name__)


def find_images(
    image_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[tuple[Path, Path]]:
    """All images of a folder (with its sub-folders), a single file, or a list of both.

    Returns:
        (path, relative path) sorted by relative path. Relative paths are unique: they start at the
        folder, or at the deepest folder that holds all entries of a list.

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
    found = {image for path in paths for image in _images_of(path)}
    if not found:
        raise FileNotFoundError(
            f"no images in {', '.join(map(str, entries)) or 'an empty list'} "
            f"(looked for {' '.join(sorted(IMAGE_ENDINGS))}); give a folder that has some"
        )
    return named_below(found, paths)


def named_below(found: Iterable[Path], paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pair files with their path below the deepest folder that holds all paths, sorted by it."""
    roots = [path if path.is_dir() else path.parent for path in paths]
    base = Path(os.path.commonpath(roots)) if roots else Path()
    return sorted(((path, path.relative_to(base)) for path in found), key=lambda pair: pair[1])


def walk_images(folder: Path) -> Iterator[Path]:
    """Images below a folder, as walk_files; images that cannot be read are counted and logged."""
    others: Counter[str] = Counter()
    for path in walk_files(folder, IMAGE_ENDINGS | OTHER_IMAGE_ENDINGS):
        if has_image_ending(path):
            yield path
        else:
            others[ending_of(path)] += 1
    if others:
        logger.warning(
            "folder=%s files=%d are images of kinds that are not read, convert them to PNG or "
            "JPEG: %s",
            folder,
            others.total(),
            ", ".join(f"{count} x {ending}" for ending, count in sorted(others.items())),
        )


def walk_files(folder: Path, endings: Collection[str]) -> Iterator[Path]:
    """Files below a folder in a stable order; links to folders are followed, but for circles.

    A folder that several links lead to is searched under each of its names. Hidden files and
    folders are left out: they are other programs' thumbnails and leftovers.

    Args:
        endings: of the wanted files, in lower case with their dot.
    """
    above: dict[str, frozenset[str]] = {}  # folder -> where it and those around it really lie
    for parent, folders, files in os.walk(folder, followlinks=True):
        real, around = os.path.realpath(parent), above.get(os.path.dirname(parent), frozenset())
        if real in around:
            folders.clear()
            continue
        above[parent] = around | {real}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and ending_of(name) in endings:
                yield Path(parent, name)


def _images_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from walk_images(path)
    elif not path.exists():
        raise FileNotFoundError(f"no such image file or folder: {path}")
    elif not has_image_ending(path):
        endings = " ".join(sorted(IMAGE_ENDINGS))
        raise ValueError(f"{path} is not an image by its ending; known are {endings}")
    else:
        yield path
