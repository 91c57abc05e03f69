"""What a conversion reads: its folders, the files in them, and how a label file is read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ddetr_data.categories import find_conflict
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert.label_chunks import ChunkReader
from ddetr_data.convert.sequences import (
    OWN_CLASSES,
    LabelledFile,
    SequenceFolder,
    find_sequences,
    find_unused_labels,
    list_files,
    shared_root,
)
from ddetr_data.faults import DataError
from ddetr_data.formats import (
    DEFAULT_MAPPING,
    ClassMapping,
    LabelFormat,
    VocReader,
    YoloReader,
    number_categories,
    read_classmap,
    read_kitti_rows,
    read_kpt_shape,
    read_mapping,
    read_voc_rows,
)
from ddetr_data.locations import is_url
from ddetr_data.types import Category

FROM_COCO = ("coco_to_kitti", "coco_to_yolo")


@dataclass(frozen=True)
class LabelSource:
    """Images with their label files, and what reads them."""

    sequences: list[SequenceFolder]
    root: Path  # the images' file names in the output start here
    files: list[LabelledFile]
    label_extension: str
    reader: ChunkReader
    categories: tuple[Category, ...]  # none: those that the labels name

    def unused_labels(self) -> list[Path]:
        """Label files that belong to no image."""
        return find_unused_labels(self.sequences, self.files, self.label_extension)


def open_labels(config: ConvertConfig, own_format: LabelFormat | None = None) -> LabelSource:
    """Find what a config names; label files are not opened yet.

    Args:
        config: which folders, and which of the known formats.
        own_format: read this one instead.

    Raises:
        FileNotFoundError: a file or folder is missing.
        DataError: there is no image, or a list of classes cannot be used.
    """
    if own_format is not None and not own_format.extension.startswith("."):
        raise DataError(
            f"the extension of a label format begins with a dot, got {own_format.extension!r}"
        )
    sequences = find_sequences(
        config.input_source or "",
        data_root=config.data_root,
        image_dir_name=config.image_dir_name,
        label_dir_name=config.label_dir_name,
    )
    root = shared_root(sequences, config.data_root)
    mapping = read_mapping(config.mapping_path) if config.mapping_path is not None else None
    if own_format is None and config.format == "kitti_to_coco":
        mapping = mapping or ClassMapping(DEFAULT_MAPPING)
    (extension, read_rows), categories = (own_format, ()) if own_format else _known_format(config)
    wanted = config.image_extension
    files = list(list_files(sequences, root, image_extension=wanted, label_extension=extension))
    if not files:
        ending = f" that ends in {wanted}" if wanted else ""
        raise DataError(
            f"{config.input_source}: there is no image{ending} in the image folders; "
            "set image_dir_name to their name inside a sequence folder"
        )
    if isinstance(read_rows, YoloReader):
        _refuse_other_lists(config.classmap or "", read_rows.class_names, sequences)
        read_rows = read_rows.informed_by(file.label for file in files)
    if isinstance(read_rows, VocReader):
        read_rows = read_rows.informed_by((file.label, file.image) for file in files)
    reader = ChunkReader(read_rows, mapping, config.missing_labels, config.ignore_regions)
    if mapping is not None:
        categories = number_categories(mapping.target_names)
    return LabelSource(sequences, root, files, extension, reader, categories)


def _refuse_other_lists(
    classmap: str, names: Sequence[str], sequences: Sequence[SequenceFolder]
) -> None:
    """Refuse labels beside which a list of classes gives their numbers other names.

    Raises:
        DataError: the text names both lists, and the first numbers that differ.
    """
    folders = dict.fromkeys(folder for one in sequences for folder in (one.label_dir, one.path))
    lists: dict[str, tuple[str, ...]] = {}
    for path in (folder / OWN_CLASSES for folder in folders):
        with suppress(OSError, DataError):  # what is no list of names says nothing
            lists[str(path)] = read_classmap(path)
    for where, beside in lists.items():
        ours, theirs = (
            [Category(number, name) for number, name in enumerate(each)] for each in (names, beside)
        )
        conflict = find_conflict(ours, theirs, first_name=f"classmap {classmap}", second_name=where)
        if conflict:
            raise DataError(f"{conflict}; give the list that the labels were made with")


def refuse_urls(config: ConvertConfig) -> None:
    """Only COCO JSON is read from elsewhere, and nothing is written there.

    Raises:
        DataError: a key that must name a path on this machine is a URL.
    """
    named: list[tuple[str, str | None]] = [("results_dir", config.results_dir)]
    if config.format not in FROM_COCO:
        named += [("input_source", config.input_source), ("data_root", config.data_root)]
    for key, value in named:
        if value is not None and is_url(value):
            raise DataError(
                f"{key} {value} is a URL, {config.format} works on folders of this machine; "
                "copy them here first"
            )


def _known_format(config: ConvertConfig) -> tuple[LabelFormat, tuple[Category, ...]]:
    """The format that config names, and its categories where they are known beforehand."""
    if config.format == "voc_to_coco":
        return LabelFormat(".xml", read_voc_rows), ()
    if config.format == "kitti_to_coco":
        return LabelFormat(".txt", read_kitti_rows), ()
    if config.classmap is None:
        raise DataError("yolo_to_coco needs classmap, set it to the class names in YOLO's order")
    names = read_classmap(config.classmap)
    reader = YoloReader(names, read_kpt_shape(config.classmap))
    return LabelFormat(".txt", reader), number_categories(names)
