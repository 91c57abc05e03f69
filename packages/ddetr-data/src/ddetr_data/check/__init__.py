"""Every fault of labelled data, found in one pass."""

from ddetr_data.check.checking import check_conversion, check_dataset
from ddetr_data.check.images import ImageInspector, ImageTask
from ddetr_data.check.options import CheckOptions
from ddetr_data.check.report import CheckLog, CheckReport
from ddetr_data.check.rules import CHECK_RULES, rules_table

__all__ = [
    "CHECK_RULES",
    "CheckLog",
    "CheckOptions",
    "CheckReport",
    "ImageInspector",
    "ImageTask",
    "check_conversion",
    "check_dataset",
    "rules_table",
]
