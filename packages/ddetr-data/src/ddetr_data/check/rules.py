"""Every fault that `check` knows, with the rule that loading, converting and detecting follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ddetr_data.convert import LABEL_FILE_RULES
from ddetr_data.faults import RULES

Severity = Literal["note", "warning", "error"]

_SEVERITIES: Mapping[str, Severity] = {
    "accept": "note",
    "repair": "warning",
    "drop": "warning",
    "refuse": "error",
}


@dataclass(frozen=True)
class CheckRule:
    """What is done about a fault, and how bad that is."""

    action: Literal["accept", "repair", "drop", "refuse"]
    meaning: str
    severity: Severity


def _accepted(meaning: str, severity: Severity = "note") -> CheckRule:
    return CheckRule("accept", meaning, severity)


# What needs no rule of loading: the data is used as it is.
_ACCEPTED: Mapping[str, CheckRule] = {
    "misnamed_image": _accepted("an image's ending names another format than it has", "warning"),
    "unlisted_class": _accepted("a KITTI class that `convert` drops without a mapping_path for it"),
    "upright_by_exif": _accepted("an image is turned by its EXIF data, and its size fits that"),
    "grey_image": _accepted("a grey image, its channel is repeated"),
    "cmyk_image": _accepted("a CMYK image, converted to RGB"),
    "palette_image": _accepted("an image with a palette, converted to RGB"),
    "deep_image": _accepted(
        "an image of more than 8 bits a channel, brought to 8 by the set's white level"
    ),
    "transparent_image": _accepted("an image with transparency, put on white"),
    "animated_image": _accepted("an animation, its first frame is taken", "warning"),
    "odd_file_name": _accepted("a file name with blanks, a backslash or letters beyond ASCII"),
    "long_file_name": _accepted("a file name of more than 255 bytes", "warning"),
    "outside_file_name": _accepted("a file name leads out of the image folder", "warning"),
    "category_id_zero": _accepted("a category has id 0: the model's first class is used"),
    "category_id_gaps": _accepted("category ids have gaps: the model has classes of no use"),
    "untrained_category": _accepted(
        "a category that the first table lacks: what is labelled so counts as missed", "warning"
    ),
    "unused_category": _accepted("a category without any object"),
    "no_training_objects": _accepted(
        "a category without an object to train on, which other sets have: it is not learnt",
        "warning",
    ),
    "no_validation_objects": _accepted(
        "a category that is trained on and has no object in val: it has no AP"
    ),
    "box_below_stride": _accepted(
        "many boxes are smaller than the finest stride at the training size (raise "
        "augmentation.scales, or let model.return_interm_indices begin with a finer stage)",
        "warning",
    ),
    "fewer_images_than_batch": _accepted(
        "there are fewer images to train on than dataset.batch_size: an epoch is one update"
    ),
    "classes_of_no_use": _accepted(
        "dataset.num_classes is more than the largest category id of the training data + 1"
    ),
    "crowd": _accepted("a crowd: not trained on, and ignored in scoring"),
    "image_without_objects": _accepted("an image without objects: trained on as background"),
    "no_objects": _accepted("a file without any object", "warning"),
    "more_objects_than_queries": _accepted("an image has more objects than queries", "warning"),
    "more_objects_than_detections": _accepted(
        "an image that is scored has more objects than evaluate.max_detections", "warning"
    ),
    "repeated_file": _accepted("an image file stands in a split under two ids", "warning"),
    "same_image": _accepted("two image files of one split have the same bytes", "warning"),
    "same_image_in_splits": _accepted("an image of one split is in another too", "warning"),
}

# Loading may drop these when it is told to (corrupt_images); it refuses them unless told.
_REFUSED_UNLESS_SKIPPED = ("missing_image", "unreadable_image")

_REFUSED_FOLDERS: Mapping[str, CheckRule] = {
    "missing_folder": CheckRule("refuse", "a folder of images or labels is missing", "error"),
}


def _all_rules() -> dict[str, CheckRule]:
    rules = {
        name: CheckRule(rule.action, rule.meaning, _SEVERITIES[rule.action])
        for name, rule in {**LABEL_FILE_RULES, **RULES}.items()
    }
    for name in _REFUSED_UNLESS_SKIPPED:
        rules[name] = CheckRule("refuse", f"{RULES[name].meaning.partition(' and ')[0]}", "error")
    rules["repeated_box"] = _accepted(RULES["repeated_box"].meaning, "warning")
    rules["dont_care"] = CheckRule("drop", LABEL_FILE_RULES["dont_care"].meaning, "note")
    return {**_REFUSED_FOLDERS, **rules, **_ACCEPTED}


CHECK_RULES: Mapping[str, CheckRule] = _all_rules()


def rules_table() -> str:
    """The rules as a Markdown table: refused first, then dropped, repaired and accepted."""
    order = {"refuse": 0, "drop": 1, "repair": 2, "accept": 3}
    rows = sorted(CHECK_RULES.items(), key=lambda item: (order[item[1].action], item[0]))
    lines = ["| fault | rule | severity | what it is |", "|---|---|---|---|"]
    for name, rule in rows:
        meaning = rule.meaning.replace("<", "&lt;")
        lines.append(f"| `{name}` | {rule.action} | {rule.severity} | {meaning} |")
    return "\n".join(lines) + "\n"
