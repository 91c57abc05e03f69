"""The faults that label files and folders may have, and the rule of `convert` for each.

What boxes may have is in ddetr_data.faults: converting and loading follow the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from ddetr_data.faults import FaultRule

LABEL_FILE_RULES: Mapping[str, FaultRule] = {
    "unreadable_image": FaultRule("drop", "an image whose header cannot be read"),
    "missing_label_file": FaultRule("drop", "an image without label file (see missing_labels)"),
    "label_without_image": FaultRule("drop", "a label file without image"),
    "malformed_label_file": FaultRule(
        "drop",
        "a label file that may not be read, is no text (VOC: no annotation in XML), or of which no "
        "line can be read (see missing_labels)",
    ),
    "odd_label_encoding": FaultRule(
        "repair", "a label file in UTF-16, or not in UTF-8 and read as Latin-1"
    ),
    "shared_label_file": FaultRule(
        "repair",
        "images that differ in their ending alone have one label file: each has its objects",
    ),
    "malformed_line": FaultRule("drop", "a line with other columns than its format has"),
    "ambiguous_line": FaultRule(
        "drop",
        "a YOLO line that can be a track, a polygon or keypoints; say kpt_shape (null: none) in a "
        "data.yaml as classmap, or cut what stands behind the box",
    ),
    "unknown_class_number": FaultRule("drop", "a YOLO class number beyond the classmap"),
    "unmapped_class": FaultRule("drop", "a class that the mapping does not name"),
    "dont_care": FaultRule("drop", "KITTI's DontCare, a region that was not labelled"),
}
