"""COCO JSON files as detection sets, and detections as rows of its results format."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "UNMATCHED",
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
    "map_classes",
    "object_row",
    "read_coco_file",
    "read_json_object",
    "read_results",
    "refuse_no_json",
    "tell_faults",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
