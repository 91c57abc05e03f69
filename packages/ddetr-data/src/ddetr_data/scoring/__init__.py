"""COCO scores of detections, by class and by source, with curves and confusions."""

from ddetr_data.scoring.coco_eval import Verdict, choose_judge, judge
from ddetr_data.scoring.coco_scorer import METRICS, CocoScorer, Scores
from ddetr_data.scoring.confusion import NOTHING, ConfusionTable, confusion_table
from ddetr_data.scoring.curves import PrecisionRecall
from ddetr_data.scoring.source_scores import score_sources, source_names

__all__ = [
    "METRICS",
    "NOTHING",
    "CocoScorer",
    "ConfusionTable",
    "PrecisionRecall",
    "Scores",
    "Verdict",
    "choose_judge",
    "confusion_table",
    "judge",
    "score_sources",
    "source_names",
]
