"""A run's figures as one HTML file that needs no other file."""

from ddetr_cli.report.charts import bar_chart, confusion_chart, precision_recall_chart
from ddetr_cli.report.history import read_history
from ddetr_cli.report.mistakes import find_mistakes, read_detections
from ddetr_cli.report.page import REPORT_NAME, write_evaluation_report, write_training_report
from ddetr_cli.report.thumbnails import thumbnail

__all__ = [
    "REPORT_NAME",
    "bar_chart",
    "confusion_chart",
    "find_mistakes",
    "precision_recall_chart",
    "read_detections",
    "read_history",
    "thumbnail",
    "write_evaluation_report",
    "write_training_report",
]
