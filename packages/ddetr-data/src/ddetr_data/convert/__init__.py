"""Folders of label files as sharded COCO JSON, and COCO JSON as label files."""

from ddetr_data.convert.conversion import convert, prepare_conversion
from ddetr_data.convert.label_chunks import ChunkReader
from ddetr_data.convert.label_rules import LABEL_FILE_RULES
from ddetr_data.convert.label_source import FROM_COCO, LabelSource, open_labels, refuse_urls
from ddetr_data.convert.partition import split_evenly, split_folds
from ddetr_data.convert.sequences import (
    LabelledFile,
    SequenceFolder,
    find_sequences,
    find_unused_labels,
    list_files,
    shared_root,
)
from ddetr_data.convert.shards import FoldSummary
from ddetr_data.convert.summary import ConvertSummary
from ddetr_data.convert.tally import Tally, too_little_left

__all__ = [
    "FROM_COCO",
    "LABEL_FILE_RULES",
    "ChunkReader",
    "ConvertSummary",
    "FoldSummary",
    "LabelSource",
    "LabelledFile",
    "SequenceFolder",
    "Tally",
    "convert",
    "find_sequences",
    "find_unused_labels",
    "list_files",
    "open_labels",
    "prepare_conversion",
    "refuse_urls",
    "shared_root",
    "split_evenly",
    "split_folds",
    "too_little_left",
]
