"""A run's figures as one HTML file that needs no other file."""

from ddetr_cli.report.charts import bar_chart, confusion_chart, precision_recall_chart
from ddetr_cli.report.comparison import Comparison, compare_runs
from ddetr_cli.report.comparison_sections import class_rows, score_rows
from ddetr_cli.report.history import read_history, read_warnings
from ddetr_cli.report.mistakes import find_mistakes, read_detections
from ddetr_cli.report.page import (
    REPORT_NAME,
    write_comparison_report,
    write_evaluation_report,
    write_label_noise_report,
    write_training_report,
)
from ddetr_cli.report.scored_run import ScoredRun, read_scored_run
from ddetr_cli.report.threshold_override import threshold_override
from ddetr_cli.report.thumbnails import thumbnail

__all__ = [
    "REPORT_NAME",
    "Comparison",
    "ScoredRun",
    "bar_chart",
    "class_rows",
    "compare_runs",
    "confusion_chart",
    "find_mistakes",
    "precision_recall_chart",
    "read_detections",
    "read_history",
    "read_scored_run",
    "read_warnings",
    "score_rows",
    "threshold_override",
    "thumbnail",
    "write_comparison_report",
    "write_evaluation_report",
    "write_label_noise_report",
    "write_training_report",
]
