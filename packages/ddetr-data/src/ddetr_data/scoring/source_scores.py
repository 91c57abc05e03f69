"""The scores of each data source on its own, under a name that says which it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddetr_data.coco import DetectionSet, ResultRow
from ddetr_data.config import DataSource
from ddetr_data.scoring.coco_scorer import CocoScorer

__all__ = ["score_sources", "source_names"]


def score_sources(
    detection_set: DetectionSet,
    sources: Sequence[DataSource],
    coco_results: Sequence[ResultRow],
    *,
    category_ids: Sequence[int] | None = None,
) -> dict[str, dict[str, Any]]:
    """Score the images of each source, as plain values for results.json.

    Args:
        sources: what detection_set was loaded from, in the same order.
        coco_results: detections of the whole set.
        category_ids: classes to score, absent: all.
    """
    scorer = CocoScorer(detection_set, category_ids=category_ids)
    scorer.add_results(coco_results)
    names = source_names(sources)
    return {names[number]: scores.to_dict() for number, scores in scorer.score_by_source().items()}


def source_names(sources: Sequence[DataSource]) -> list[str]:
    """Name each source by its JSON, with its image folder where that alone names two."""
    files = [", ".join(source.json_file) for source in sources]
    names = [
        file if files.count(file) == 1 else f"{file} in {source.image_dir}"
        for file, source in zip(files, sources, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names)
    ]
