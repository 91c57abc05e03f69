"""Label formats: KITTI, Pascal VOC, YOLO, and the classes that their names become."""

from ddetr_data.formats.class_mapping import (
    DEFAULT_MAPPING,
    ClassMapping,
    number_categories,
    read_classmap,
    read_kpt_shape,
    read_mapping,
    write_classmap,
)
from ddetr_data.formats.kitti import (
    DONT_CARE,
    KittiError,
    KittiObject,
    format_dont_care_line,
    format_kitti_line,
    parse_kitti_line,
    read_kitti,
    read_kitti_lines,
    write_kitti,
)
from ddetr_data.formats.kitti_rows import read_kitti_rows
from ddetr_data.formats.label_paths import label_names
from ddetr_data.formats.label_text import read_label_text
from ddetr_data.formats.rows import LabelFormat, LabelRow, RowReader, faulty_row
from ddetr_data.formats.voc import VocReader, read_voc_names, read_voc_rows
from ddetr_data.formats.yolo import YoloReader, format_yolo_line

__all__ = [
    "DEFAULT_MAPPING",
    "DONT_CARE",
    "ClassMapping",
    "KittiError",
    "KittiObject",
    "LabelFormat",
    "LabelRow",
    "RowReader",
    "VocReader",
    "YoloReader",
    "faulty_row",
    "format_dont_care_line",
    "format_kitti_line",
    "format_yolo_line",
    "label_names",
    "number_categories",
    "parse_kitti_line",
    "read_classmap",
    "read_kitti",
    "read_kitti_lines",
    "read_kitti_rows",
    "read_kpt_shape",
    "read_label_text",
    "read_mapping",
    "read_voc_names",
    "read_voc_rows",
    "write_classmap",
    "write_kitti",
]
