"""What there is to label: images and videos, and under which names their results are kept."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ddetr_data.extras import InstallHint, MissingExtraError
from ddetr_data.files import fitting_name
from ddetr_data.images import can_read_videos, copy_ending, find_images, find_videos, is_video

logger = logging.getLogger(__name__)

_HINT = InstallHint("video")

Media: TypeAlias = list[tuple[Path, Path]]  # a file, and the relative path of its results


@dataclass(frozen=True)
class NamedVideo:
    """A video to label, and the names of its results."""

    path: Path
    relative: Path  # the folder of its labels
    annotated: Path  # below videos_annotated/


def find_media(
    entries: Sequence[str | os.PathLike[str]], *, by_own_folder: bool = False
) -> tuple[Media, Media]:
    """Find images, and videos if PyAV is there; without it a folder's videos are logged.

    Args:
        entries: folders (searched with their sub-folders) and files.
        by_own_folder: give <folder of the file>/<file> as relative paths; files that would
            have the same keep theirs.

    Raises:
        FileNotFoundError: an entry does not exist, or there is neither image nor video.
        MissingExtraError: a video is named itself, but PyAV is not installed.
    """
    videos = find_videos(entries)
    others = [entry for entry in entries if not (is_video(Path(entry)) and Path(entry).is_file())]
    if videos and not can_read_videos():
        if len(others) < len(entries):
            raise MissingExtraError(f"{videos[0][0]} is a video", _HINT, " to read it")
        logger.warning("videos=%d are left out: %s", len(videos), _HINT)
        videos = []
    try:
        images = find_images(others) if others or not videos else []
    except FileNotFoundError:
        if not videos or not all(Path(entry).exists() for entry in entries):
            raise
        images = []
    if by_own_folder:
        images, videos = _in_own_folder(images), _in_own_folder(videos)
    return images, videos


def annotated_names(relatives: Sequence[Path]) -> dict[Path, Path]:
    """The annotated copy of each image: a JPEG or a PNG; no two are the same.

    Images of these two kinds keep their names. Of others the ending is replaced, or kept before the
    new one (a.tif.png) where images differ in it alone, or where a folder or another image has the
    shorter name. What would be too long for a name is cut.
    """
    names = {each: each for each in relatives if copy_ending(each) == each.suffix}
    others = [each for each in relatives if each not in names]
    taken = set(names) | {folder for each in relatives for folder in each.parents}
    short = {each: each.with_suffix(copy_ending(each)) for each in others}
    wanted = Counter(short.values())
    # Short names first, so that a longer one gives way to them.
    for each in sorted(others, key=lambda each: wanted[short[each]] > 1 or short[each] in taken):
        name = short[each]
        if wanted[name] > 1 or name in taken:
            name = _lengthened(each, copy_ending(each))
        while name in taken:
            name = _lengthened(name, copy_ending(each))
        names[each] = name
        taken.add(name)
    return names


def named_videos(videos: Media) -> list[NamedVideo]:
    """Choose the annotated videos' names: MP4s keep theirs, others get .mp4 behind it.

    All get it where two would have one name (a.avi and a.avi.mp4).
    """
    behind = [relative.with_name(fitting_name(relative.name, ".mp4")) for _, relative in videos]
    short = [
        relative if relative.suffix.lower() == ".mp4" else name
        for (_, relative), name in zip(videos, behind, strict=True)
    ]
    names = short if len(set(short)) == len(short) else behind
    return [NamedVideo(*found, name) for found, name in zip(videos, names, strict=True)]


def _lengthened(path: Path, ending: str) -> Path:
    return path.with_name(fitting_name(path.name, ending))


def _in_own_folder(found: Media) -> Media:
    names = [Path(path.parent.name, path.name) for path, _ in found]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return [
        (path, relative if name in shared else name)
        for (path, relative), name in zip(found, names, strict=True)
    ]
