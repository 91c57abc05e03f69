"""The sequence folders that `convert` reads, and the images with their label files inside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ddetr_data.faults import DataError
from ddetr_data.files import fitting_name, read_regular
from ddetr_data.images import walk_images

OWN_CLASSES = "classes.txt"  # that labelling tools keep beside YOLO labels
_CLASS_LISTS = (OWN_CLASSES, "classmap.txt")


@dataclass(frozen=True)
class SequenceFolder:
    """One recording: a folder with images and labels."""

    path: Path
    image_dir: Path
    label_dir: Path


@dataclass(frozen=True)
class LabelledFile:
    """An image and the label file that belongs to it, which may be missing."""

    image: Path
    label: Path
    file_name: str  # of the image in the output, with forward slashes
    sequence: int  # which sequence folder it came from
    shares_label: bool = False  # with an image of another ending


def find_sequences(
    input_source: str,
    *,
    data_root: str | None,
    image_dir_name: str | None,
    label_dir_name: str | None,
) -> list[SequenceFolder]:
    """The folders that a text file names, one a line, or the one folder that input_source is.

    Blank lines, lines that start with "#", CRLF, trailing slashes and repeated lines change
    nothing. Relative lines start at data_root, else at the text file's own folder.

    Raises:
        FileNotFoundError: the text file, a folder, or its image folder is missing.
        DataError: the text file names nothing, or one image folder lies inside another.
    """
    source = Path(input_source)
    if source.is_dir():
        folders = [Path(os.path.abspath(source))]
    else:
        folders = _read_list(source, Path(data_root) if data_root else source.parent)
    sequences = []
    for folder in folders:
        image_dir, label_dir = (
            Path(os.path.normpath(folder / (name or ".")))
            for name in (image_dir_name, label_dir_name)
        )
        for what, path in (("sequence", folder), ("image", image_dir), ("label", label_dir)):
            if not path.is_dir():
                key = "input_source" if what == "sequence" else f"{what}_dir_name"
                raise FileNotFoundError(
                    f"{input_source}: the {what} folder {path} is missing; mend {key}"
                )
        sequences.append(SequenceFolder(folder, image_dir, label_dir))
    _refuse_overlaps(input_source, sequences)
    return sequences


def shared_root(sequences: list[SequenceFolder], data_root: str | None) -> Path:
    """The folder that file names start at: data_root, else the deepest that holds all sequences.

    Raises:
        DataError: a sequence lies outside data_root.
    """
    if data_root is None:
        folders = [folder for one in sequences for folder in (one.path, one.image_dir)]
        return Path(os.path.commonpath(folders))
    root = Path(os.path.abspath(data_root))
    for sequence in sequences:
        if not sequence.image_dir.is_relative_to(root):
            raise DataError(f"the images {sequence.image_dir} must lie inside data_root {root}")
    return root


def list_files(
    sequences: list[SequenceFolder],
    root: Path,
    *,
    image_extension: str | None,
    label_extension: str,
) -> Iterator[LabelledFile]:
    """Every image of every sequence, in the list's and then the names' order.

    A label file has its image's path inside the label folder, and label_extension for an ending.
    Images that differ in their ending alone have label files that keep it (a.jpg.txt, a.png.txt),
    or have one together (a.txt); one beside a folder a.txt keeps it too. Names are cut as
    label_names cuts them.
    """
    wanted = None if image_extension is None else f".{image_extension.lower().lstrip('.')}"
    for number, sequence in enumerate(sequences):
        images = list(walk_images(sequence.image_dir))
        stems = Counter(image.with_suffix("") for image in images)
        for image in images:
            if wanted is not None and image.suffix.lower() != wanted:
                continue
            inside = image.relative_to(sequence.image_dir)
            label = sequence.label_dir / inside.with_suffix(label_extension)
            is_shared = stems[image.with_suffix("")] > 1
            own = label.with_name(fitting_name(image.name, label_extension))
            if (is_shared or os.path.isdir(label)) and os.path.exists(own):
                label, is_shared = own, False
            file_name = os.path.relpath(image, root).replace(os.sep, "/")
            yield LabelledFile(image, label, file_name, number, is_shared)


def find_unused_labels(
    sequences: list[SequenceFolder], files: Sequence[LabelledFile], label_extension: str
) -> list[Path]:
    """Label files that belong to no image; other files with that ending beside images too.

    Lists of classes, which labelling tools keep beside YOLO labels, are none.
    """
    used = {file.label for file in files}
    return [
        label
        for sequence in sequences
        for label in sorted(sequence.label_dir.rglob(f"*{label_extension}"))
        if label not in used and label.name not in _CLASS_LISTS and not label.is_dir()
    ]


def _refuse_overlaps(input_source: str, sequences: Sequence[SequenceFolder]) -> None:
    """Images are looked for in sub-folders too: those of two sequences would be taken twice."""
    folders = [(Path(os.path.realpath(one.image_dir)), one) for one in sequences]
    folders.sort(key=lambda pair: pair[0])
    for (outer, first), (inner, second) in pairwise(folders):
        if inner.is_relative_to(outer):
            raise DataError(
                f"{input_source}: the images {second.image_dir} are among those of "
                f"{first.image_dir} already, list one of the two"
            )


def _read_list(source: Path, root: Path) -> list[Path]:
    try:
        text = read_regular(source, "input_source").decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"input_source {source} is missing") from None
    except UnicodeDecodeError as error:
        raise DataError(f"input_source {source} must be a UTF-8 text, one folder a line") from error
    lines = (line.strip() for line in text.splitlines())
    named = [line for line in lines if line and not line.startswith("#")]
    folders = dict.fromkeys(Path(os.path.abspath(root / line)) for line in named)
    if not folders:
        raise DataError(f"input_source {source} must name one sequence folder a line, it is empty")
    return list(folders)
