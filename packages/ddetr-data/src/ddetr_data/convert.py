"""Turn folders of label files into sharded COCO JSON, and COCO JSON into label files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ddetr_data.class_mapping import (
    DEFAULT_MAPPING,
    ClassMapping,
    number_categories,
    read_classmap,
    read_mapping,
)
from ddetr_data.coco_export import export_labels
from ddetr_data.config import ConvertConfig
from ddetr_data.convert_summary import ConvertSummary, count_by_reason
from ddetr_data.faults import DataError
from ddetr_data.formats.kitti_rows import read_kitti_rows
from ddetr_data.formats.voc import read_voc_rows
from ddetr_data.formats.yolo import YoloReader
from ddetr_data.label_chunks import ChunkReader, LabelChunk, Tally
from ddetr_data.label_table import LabelTable, join_chunks
from ddetr_data.locations import is_url
from ddetr_data.parallel import map_chunks
from ddetr_data.partition import split_folds
from ddetr_data.sequences import (
    LabelledFile,
    SequenceFolder,
    find_sequences,
    find_unused_labels,
    list_files,
    shared_root,
)
from ddetr_data.shards import CLASSMAP_NAME, FAULTS_NAME, write_shards
from ddetr_data.types import Category

__all__ = ["ConvertSummary", "convert"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # images done, images in all

_CHUNK_IMAGES = 1000  # about half a second of one process's work
_FROM_COCO = ("coco_to_kitti", "coco_to_yolo")
_STRICT_EXEMPT = "dont_care"  # KITTI's own way to say that nothing is there


def convert(config: ConvertConfig, *, on_progress: Progress | None = None) -> ConvertSummary:
    """Convert labels as the config says; the output is byte-identical from run to run.

    From eight thousand images on, and with more than one worker, processes are started: a script
    that calls this needs its `if __name__ == "__main__"` guard.

    Raises:
        FileNotFoundError: a file or folder that the config names is missing.
        DataError: nothing to convert, a bad mapping, or, when strict, anything to drop.
    """
    if config.input_source is None:
        raise DataError("convert needs input_source, the labels to read")
    _refuse_urls(config)
    if config.format in _FROM_COCO:
        return export_labels(config, on_progress=on_progress)
    sequences = find_sequences(
        config.input_source,
        data_root=config.data_root,
        image_dir_name=config.image_dir_name,
        label_dir_name=config.label_dir_name,
    )
    root = shared_root(sequences, config.data_root)
    table, tally = _read_labels(config, sequences, root, on_progress)
    return _write_coco(config, table, tally, root)


def _refuse_urls(config: ConvertConfig) -> None:
    """Only COCO JSON is read from elsewhere, and nothing is written there."""
    named: list[tuple[str, str | None]] = [("results_dir", config.results_dir)]
    if config.format not in _FROM_COCO:
        named += [("input_source", config.input_source), ("data_root", config.data_root)]
    for key, value in named:
        if value is not None and is_url(value):
            raise DataError(
                f"{key} {value} is a URL, {config.format} works on folders of this machine; "
                "copy them here first"
            )


def _read_labels(
    config: ConvertConfig,
    sequences: list[SequenceFolder],
    root: Path,
    on_progress: Progress | None,
) -> tuple[LabelTable, Tally]:
    """All images with what is kept of their labels, and the counts of what is not."""
    reader, categories = _plan(config)
    label_extension = ".xml" if config.format == "voc_to_coco" else ".txt"
    files = list(
        list_files(
            sequences,
            root,
            image_extension=config.image_extension,
            label_extension=label_extension,
        )
    )
    if not files:
        wanted = f" that ends in {config.image_extension}" if config.image_extension else ""
        raise DataError(f"{config.input_source}: there is no image{wanted} in the image folders")
    chunks = _read_chunks(files, reader, config, on_progress)
    tally = Tally()
    for chunk in chunks:
        tally.add(chunk.tally)
    for label in find_unused_labels(sequences, files, label_extension):
        tally.drop(str(label), "label_without_image")
    if config.strict:
        _refuse_drops(tally)
    found = number_categories(sorted(tally.kept, reverse=True))
    return join_chunks(chunks, categories or found), tally


def _plan(config: ConvertConfig) -> tuple[ChunkReader, tuple[Category, ...]]:
    """How to read a label file, and the target categories where they are known beforehand."""
    mapping = read_mapping(config.mapping_path) if config.mapping_path is not None else None
    categories: tuple[Category, ...] = ()
    if config.format == "yolo_to_coco":
        if config.classmap is None:
            raise DataError("yolo_to_coco needs classmap, the class names in YOLO's order")
        names = read_classmap(config.classmap)
        reader = ChunkReader(YoloReader(names), mapping, config.missing_labels)
        categories = number_categories(names)
    elif config.format == "voc_to_coco":
        reader = ChunkReader(read_voc_rows, mapping, config.missing_labels)
    else:
        mapping = mapping or ClassMapping(DEFAULT_MAPPING)
        reader = ChunkReader(read_kitti_rows, mapping, config.missing_labels)
    return reader, categories if mapping is None else number_categories(mapping.target_names)


def _read_chunks(
    files: list[LabelledFile],
    reader: ChunkReader,
    config: ConvertConfig,
    on_progress: Progress | None,
) -> list[LabelChunk]:
    parts = [files[start : start + _CHUNK_IMAGES] for start in range(0, len(files), _CHUNK_IMAGES)]
    chunks, done = [], 0
    results = map_chunks(reader, parts, config.workers, config.executor)
    for part, chunk in zip(parts, results, strict=True):
        chunks.append(chunk)
        done += len(part)
        if on_progress is not None:
            on_progress(done, len(files))
    return chunks


def _refuse_drops(tally: Tally) -> None:
    counts = {key: count for key, count in tally.dropped.items() if key[0] != _STRICT_EXEMPT}
    if counts:
        listed = ", ".join(f"{n} x {' '.join(key).strip()}" for key, n in sorted(counts.items()))
        first = f"; the first fault is at {tally.faults[0].where}" if tally.faults else ""
        raise DataError(f"strict: nothing may be dropped, but these would be: {listed}{first}")


def _write_coco(
    config: ConvertConfig, table: LabelTable, tally: Tally, root: Path
) -> ConvertSummary:
    folds = split_folds(
        table.file_names,
        table.sequences,
        num_partitions=config.num_partitions,
        val_split=config.val_split,
        mode=config.partition_mode or "random",
    )
    results_dir = Path(config.results_dir)
    written = write_shards(
        table, folds, results_dir, num_shards=config.num_shards, faults=tally.faults
    )
    for number, fold in enumerate(written):
        if not fold.images:
            logger.warning("partition=%d of=%d has no image and so no file", number, len(written))
    return ConvertSummary(
        images=len(table),
        annotations=len(table.labels),
        categories=table.categories,
        kept={category.name: tally.kept[category.name] for category in table.categories},
        dropped=count_by_reason(tally.dropped),
        repaired=count_by_reason(tally.repaired),
        classmap=results_dir / CLASSMAP_NAME,
        image_dir=root,
        folds=tuple(written),
        faults_file=results_dir / FAULTS_NAME,
    )
