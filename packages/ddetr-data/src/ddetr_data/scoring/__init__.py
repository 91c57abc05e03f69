"""COCO scores of detections, by class and by source, with curves and confusions."""

from ddetr_data.scoring.best_thresholds import BestThreshold
from ddetr_data.scoring.bootstrap import RESAMPLES, ImageMatches, Interval, paired_intervals
from ddetr_data.scoring.coco_eval import Verdict, choose_judge, judge
from ddetr_data.scoring.coco_scorer import METRICS, CocoScorer, Scores
from ddetr_data.scoring.confusion import (
    NOTHING,
    ConfusionTable,
    confusion_table,
    match_detections,
    overlaps,
)
from ddetr_data.scoring.curves import PrecisionRecall
from ddetr_data.scoring.source_scores import score_sources, source_names

__all__ = [
    "METRICS",
    "NOTHING",
    "RESAMPLES",
    "BestThreshold",
    "CocoScorer",
    "ConfusionTable",
    "ImageMatches",
    "Interval",
    "PrecisionRecall",
    "Scores",
    "Verdict",
    "choose_judge",
    "confusion_table",
    "judge",
    "match_detections",
    "overlaps",
    "paired_intervals",
    "score_sources",
    "source_names",
]
