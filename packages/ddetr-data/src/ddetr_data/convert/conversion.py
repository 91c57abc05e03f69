"""Turn folders of label files into sharded COCO JSON, and COCO JSON into label files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert._coco_to_labels import prepare_labels
from ddetr_data.convert._label_table import LabelTable, join_chunks
from ddetr_data.convert._other_machines import RemoteReader, refuse_unseen_labels
from ddetr_data.convert.label_chunks import LabelChunk
from ddetr_data.convert.label_rules import LABEL_FILE_RULES
from ddetr_data.convert.label_source import FROM_COCO, LabelSource, open_labels, refuse_urls
from ddetr_data.convert.partition import split_folds
from ddetr_data.convert.shards import CLASSMAP_NAME, FAULTS_NAME, write_shards
from ddetr_data.convert.summary import ConvertSummary, count_by_reason
from ddetr_data.convert.tally import MISSING, UNREADABLE, Tally, too_little_left
from ddetr_data.faults import RULES, DataError
from ddetr_data.formats import LabelFormat, number_categories
from ddetr_data.parallel import map_in_chunks

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # images done, images in all


def convert(
    config: ConvertConfig,
    *,
    own_format: LabelFormat | None = None,
    on_progress: Progress | None = None,
    images_a_chunk: int = 1000,
) -> ConvertSummary:
    """Convert labels as the config says; the output is byte-identical from run to run.

    From eight chunks of images on, and with more than one worker, processes are started: a script
    that calls this needs its `if __name__ == "__main__"` guard.

    Args:
        config: what to read, and where to write.
        own_format: read labels of this format; config.format is then not looked at.
        on_progress: called with images done and images in all.
        images_a_chunk: that a process reads at a time; 1000 are about half a second of its work.

    Raises:
        FileNotFoundError: a file or folder that the config names is missing.
        DataError: nothing to convert, a bad mapping, or, when strict, anything to drop.
    """
    prepared = prepare_conversion(
        config, own_format=own_format, on_progress=on_progress, images_a_chunk=images_a_chunk
    )
    return prepared()


def prepare_conversion(
    config: ConvertConfig,
    *,
    own_format: LabelFormat | None = None,
    on_progress: Progress | None = None,
    images_a_chunk: int = 1000,
) -> Callable[[], ConvertSummary]:
    """Read and check all labels; the files are written when what this gives is called.

    Raises:
        FileNotFoundError, DataError: as convert.
    """
    if config.input_source is None:
        raise DataError("convert needs input_source, the labels to read")
    refuse_urls(config)
    if own_format is None and config.format in FROM_COCO:
        return prepare_labels(config, on_progress=on_progress)
    source = open_labels(config, own_format)
    table, tally = _read_labels(config, source, on_progress, images_a_chunk)
    return partial(_write_coco, config, table, tally, source.root)


def _read_labels(
    config: ConvertConfig, source: LabelSource, on_progress: Progress | None, images_a_chunk: int
) -> tuple[LabelTable, Tally]:
    """All images with what is kept of their labels, and the counts of what is not."""
    chunks = list(_mapped(config, source, on_progress, images_a_chunk))
    tally = Tally()
    for chunk in chunks:
        tally.add(chunk.tally)
    for label in source.unused_labels():
        tally.count(str(label), "label_without_image")
    drops = tally.listed_drops
    if config.strict and drops:
        raise DataError(
            f"strict: nothing may be dropped, but these would be: {drops}; mend them, or set "
            "strict=false"
        )
    images = sum(len(chunk.file_names) for chunk in chunks)
    if refusal := too_little_left(tally, images, config.max_dropped):
        raise DataError(
            f"{config.input_source}: {refusal}, nothing is written; `ddetr check` lists the faults"
        )
    _tell_left_out(tally)
    names = {name for chunk in chunks for name in chunk.class_names if name is not None}
    found = number_categories(sorted(names, reverse=True))
    return join_chunks(chunks, source.categories or found), tally


def _mapped(
    config: ConvertConfig, source: LabelSource, on_progress: Progress | None, images_a_chunk: int
) -> Iterator[LabelChunk]:
    size, workers = images_a_chunk, config.workers
    if config.executor == "local":
        yield from map_in_chunks(source.reader, source.files, size, workers, "local", on_progress)
        return
    reader = RemoteReader(source.reader)
    for node, chunk in map_in_chunks(
        reader, source.files, size, workers, config.executor, on_progress
    ):
        refuse_unseen_labels(node, chunk)
        yield chunk


def _tell_left_out(tally: Tally) -> None:
    """Log, with the first of them, label files that tell nothing of their images."""
    for reason in (MISSING, UNREADABLE):
        files = [fault.where for fault in tally.faults if fault.reason == reason]
        if files:
            done = "left out" if (reason, "") in tally.dropped else "background"
            logger.warning(
                "labels: %s: %d, their images are %s (first: %s)",
                LABEL_FILE_RULES[reason].meaning,
                len(files),
                done,
                files[0],
            )
    repeats = [fault.where for fault in tally.faults if fault.reason == "repeated_box"]
    if repeats:
        meaning = RULES["repeated_box"].meaning
        logger.warning("labels: %s: %d (first: %s)", meaning, len(repeats), repeats[0])


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
        accepted=count_by_reason(tally.accepted),
        classmap=results_dir / CLASSMAP_NAME,
        image_dir=root,
        folds=tuple(written),
        faults_file=results_dir / FAULTS_NAME,
    )
