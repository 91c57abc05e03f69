"""What a conversion wrote, repaired and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddetr_data.convert.shards import FoldSummary
from ddetr_data.types import Category

Counts = Mapping[str, Mapping[str, int]]  # reason -> source class -> how many


@dataclass(frozen=True)
class ConvertSummary:
    """Counts by class and reason, and where everything is."""

    images: int
    annotations: int
    categories: tuple[Category, ...]
    kept: Mapping[str, int]  # class -> objects
    dropped: Counts  # reasons are keys of LABEL_FILE_RULES or RULES; class "" where none is known
    repaired: Counts
    classmap: Path
    accepted: Counts = field(default_factory=dict)  # regions, and marks of which nothing came
    image_dir: Path | None = None  # what file names in the JSON start at
    folds: tuple[FoldSummary, ...] = ()  # of COCO output
    faults_file: Path | None = None  # CSV, one fault a line; unmapped classes are only counted
    label_dir: Path | None = None  # of KITTI or YOLO output

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON report."""
        folds = [
            {**vars(fold), "json_files": [str(path) for path in fold.json_files]}
            for fold in self.folds
        ]
        paths = {
            name: None if getattr(self, name) is None else str(getattr(self, name))
            for name in ("image_dir", "classmap", "faults_file", "label_dir")
        }
        return {
            "images": self.images,
            "annotations": self.annotations,
            "categories": {category.name: category.id for category in self.categories},
            "kept": dict(self.kept),
            "dropped": {reason: dict(counts) for reason, counts in self.dropped.items()},
            "repaired": {reason: dict(counts) for reason, counts in self.repaired.items()},
            "accepted": {reason: dict(counts) for reason, counts in self.accepted.items()},
            "folds": folds,
            **paths,
        }


def count_by_reason(counts: Counter[tuple[str, str]]) -> Counts:
    """Turn {(reason, class): n} into {reason: {class: n}}, both sorted."""
    nested: dict[str, dict[str, int]] = {}
    for (reason, name), count in sorted(counts.items()):
        nested.setdefault(reason, {})[name] = count
    return nested
