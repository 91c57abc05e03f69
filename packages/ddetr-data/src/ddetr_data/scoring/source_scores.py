"""The scores of each data source on its own, under a name that says which it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddetr_data.config import DataSource
from ddetr_data.scoring.coco_scorer import CocoScorer, told_apart


def score_sources(scorer: CocoScorer, sources: Sequence[DataSource]) -> dict[str, dict[str, Any]]:
    """Score the images of each source on their own, as plain values for results.json.

    Args:
        scorer: has the detections of the whole set.
        sources: what its set was loaded from, in the same order.
    """
    names = source_names(sources)
    return {names[number]: scores.to_dict() for number, scores in scorer.score_by_source().items()}


def source_names(sources: Sequence[DataSource]) -> list[str]:
    """Name each source by its JSON, with its image folder where that alone names two."""
    files = [", ".join(source.json_file) for source in sources]
    names = told_apart(files, [f"in {source.image_dir}" for source in sources])
    return told_apart(names, [f"({number})" for number in range(len(names))])
