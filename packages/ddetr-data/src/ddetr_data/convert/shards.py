"""Write a label table as COCO shards: partitions of num_shards files each, atomically."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddetr_data.convert._label_table import LabelTable
from ddetr_data.convert.partition import split_evenly
from ddetr_data.convert.tally import Fault
from ddetr_data.files import staged
from ddetr_data.formats import write_classmap
from ddetr_data.safe_text import table_cell

CLASSMAP_NAME = "classmap.txt"
FAULTS_NAME = "faults.csv"

_SHARD_NAME = re.compile(r"fold-\d{3,}-of-\d{3,}-shard-\d{5,}-of-\d{5,}\.json")


@dataclass(frozen=True)
class FoldSummary:
    """One partition as written."""

    images: int
    annotations: int
    json_files: tuple[Path, ...]


def write_shards(
    table: LabelTable,
    folds: Sequence[Sequence[int]],  # image indices of each partition
    results_dir: Path,
    *,
    num_shards: int,
    faults: Sequence[Fault],
) -> list[FoldSummary]:
    """Write fold-*-shard-*.json, classmap.txt and faults.csv; shards of earlier runs are removed.

    A fold with fewer images than num_shards has fewer shards, an empty one has none. Ids count from
    1 over all shards of all folds. Nothing is written when this fails or is interrupted.
    """
    summaries = []
    image_id, annotation_id = 1, 1
    with staged(results_dir, is_stale=_is_shard) as staging:
        for number, fold in enumerate(folds):
            shards, first_annotation = split_evenly(fold, num_shards), annotation_id
            names = [
                f"fold-{number:03d}-of-{len(folds):03d}-shard-{shard:05d}-of-{len(shards):05d}.json"
                for shard in range(len(shards))
            ]
            for name, images in zip(names, shards, strict=True):
                content = table.to_coco(images, image_id, annotation_id)
                text = json.dumps(content, separators=(",", ":"))
                (staging / name).write_text(text, encoding="ascii")
                image_id += len(images)
                annotation_id += len(content["annotations"])
            paths = tuple(results_dir / name for name in names)
            summaries.append(FoldSummary(len(fold), annotation_id - first_annotation, paths))
        write_classmap(staging / CLASSMAP_NAME, table.categories)
        _write_faults(staging / FAULTS_NAME, faults)
    return summaries


def _is_shard(name: str) -> bool:
    return _SHARD_NAME.fullmatch(name) is not None


def _write_faults(path: Path, faults: Sequence[Fault]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Fault._fields)
        writer.writerows(map(table_cell, fault) for fault in faults)
