"""COCO JSON files as detection sets, and detections as rows of its results format."""

from ddetr_data.coco.detection_set import DetectionSet, check_ids_below, load_sources, tell_faults
from ddetr_data.coco.file import CocoFile, read_coco_file
from ddetr_data.coco.image_table import (
    ImageColumns,
    ImageTable,
    as_table,
    ends_of,
    is_plain_name,
    locate_image,
)
from ddetr_data.coco.json_files import find_json_files, read_json_object, refuse_no_json
from ddetr_data.coco.results import (
    ResultRow,
    detections_from_coco,
    detections_to_coco,
    read_results,
)
from ddetr_data.coco.rows import category_rows, image_row, object_row

__all__ = [
    "CocoFile",
    "DetectionSet",
    "ImageColumns",
    "ImageTable",
    "ResultRow",
    "as_table",
    "category_rows",
    "check_ids_below",
    "detections_from_coco",
    "detections_to_coco",
    "ends_of",
    "find_json_files",
    "image_row",
    "is_plain_name",
    "load_sources",
    "locate_image",
    "object_row",
    "read_coco_file",
    "read_json_object",
    "read_results",
    "refuse_no_json",
    "tell_faults",
]
