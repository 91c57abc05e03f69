"""The faults that labels may have, the rule for each, and the log that counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal


class DataError(ValueError):
    """A data set that cannot be used as it is; the text names the file and the row."""


@dataclass(frozen=True)
class FaultRule:
    """What loading does about one kind of fault."""

    action: Literal["accept", "repair", "drop", "refuse"]
    meaning: str


RULES: Mapping[str, FaultRule] = {
    "repeated_key": FaultRule(
        "repair", "a key stands twice in an object: lists are joined, else the last value is taken"
    ),
    "odd_encoding": FaultRule("repair", "the JSON starts with a BOM or is UTF-16 or UTF-32"),
    "compressed_json": FaultRule("repair", "the JSON is gzipped"),
    "missing_annotations": FaultRule("repair", "the JSON has no list of annotations"),
    "row_not_object": FaultRule("drop", "a row is not a JSON object"),
    "repeated_category": FaultRule("drop", "a category stands in the table twice"),
    "shared_category_name": FaultRule("repair", "two categories have one name"),
    "unnamed_category": FaultRule("repair", "a category has no name, it is called class_<id>"),
    "odd_category_name": FaultRule(
        "repair", "a category's name is no text, or has line ends, outer blanks or broken letters"
    ),
    "renumbered_class": FaultRule(
        "repair", "a class has another id in another table, and is mapped by its name"
    ),
    "unmatched_class": FaultRule(
        "drop", "an object of a class that the other table does not name (match_classes is name)"
    ),
    "text_id": FaultRule("repair", "an id is written as a text"),
    "unusable_image_id": FaultRule("repair", "an image id is no number up to 2**53, all are new"),
    "clashing_image_ids": FaultRule("repair", "files share image ids, all are numbered anew"),
    "image_without_id": FaultRule("drop", "an image has no id that is a whole number or a text"),
    "image_without_file_name": FaultRule("drop", "an image has no file_name"),
    "repeated_image": FaultRule("drop", "an image stands in the file twice"),
    "filled_image_size": FaultRule("repair", "width or height is read from the image itself"),
    "text_image_size": FaultRule("repair", "width or height is written as a text"),
    "missing_image": FaultRule("drop", "an image file is missing and corrupt_images is skip"),
    "unreadable_image": FaultRule("drop", "an image cannot be read and corrupt_images is skip"),
    "turned_image": FaultRule("repair", "the size is that before the EXIF turn, boxes are turned"),
    "resized_image": FaultRule("repair", "the image is a resized copy, boxes are scaled"),
    "other_image_size": FaultRule(
        "repair",
        "the image has another shape, its boxes fit it better, or the size is a placeholder: "
        "boxes stay, and are clipped to it",
    ),
    "annotation_without_id": FaultRule("repair", "an annotation has no id"),
    "shared_annotation_id": FaultRule("repair", "two different annotations have one id"),
    "repeated_annotation": FaultRule("drop", "an annotation stands in the file twice"),
    "unknown_image": FaultRule("drop", "an annotation's image is not in the file"),
    "annotation_without_category": FaultRule("drop", "an annotation has no category_id"),
    "missing_box": FaultRule("drop", "bbox is absent or null, and there is no polygon or mask"),
    "outlined_box": FaultRule(
        "repair",
        "bbox is absent, null, empty or all zeros, the box around its polygons or mask is taken",
    ),
    "rotated_box": FaultRule("repair", "a box is rotated, the upright box around it is taken"),
    "repeated_box": FaultRule(
        "accept", "a box stands on its image again with its class: trained on once, scored as often"
    ),
    "malformed_box": FaultRule("drop", "bbox is not four numbers"),
    "text_box": FaultRule("repair", "bbox holds numbers written as texts"),
    "not_finite_box": FaultRule("drop", "bbox holds NaN or infinity"),
    "normalised_box": FaultRule(
        "drop", "a box lies inside the first pixel: it is normalised (0 to 1), not in pixels"
    ),
    "inverted_box": FaultRule("drop", "a box has a negative width or height"),
    "zero_box": FaultRule("drop", "a box has no width or no height"),
    "huge_box": FaultRule("drop", "a box is more than ten times its image's size"),
    "outside_box": FaultRule("drop", "a box lies outside its image"),
    "clipped_box": FaultRule("repair", "a box reaches over its image's border and is clipped"),
    "filled_area": FaultRule("repair", "area is missing or no number, width x height stands in"),
    "filled_is_crowd": FaultRule("repair", "iscrowd is missing or neither 0 nor 1, 0 stands in"),
    "text_is_crowd": FaultRule("repair", "iscrowd is 0 or 1 written as a text"),
    "marked_ignore": FaultRule(
        "accept",
        "an object that is marked to be ignored (COCO's ignore, VOC's difficult): one like others "
        "without ignore_regions",
    ),
    "ignore_region": FaultRule(
        "accept", "a region to ignore: not trained on, and ignored in scoring (ignore_regions)"
    ),
    "unusable_json": FaultRule("refuse", "the file is missing, cut off, empty or no COCO JSON"),
    "no_categories": FaultRule("refuse", "the JSON has no table of categories"),
    "unusable_category_id": FaultRule("refuse", "a category id is no number from 0 to 2**20"),
    "most_dropped": FaultRule(
        "refuse", "more objects of wanted classes are dropped than max_dropped allows, or all"
    ),
    "two_category_names": FaultRule("refuse", "one category id has two names"),
    "differing_categories": FaultRule(
        "refuse", "two class tables give an id two names, or a name two ids (see match_classes)"
    ),
    "category_beyond_model": FaultRule("refuse", "a category id is num_classes or above"),
    "no_images": FaultRule("refuse", "the JSON has no list of images"),
    "two_file_names": FaultRule("refuse", "one image id has two file names"),
    "no_image_size": FaultRule("refuse", "an image has no size in the JSON and cannot be read"),
    "unknown_category": FaultRule("refuse", "an annotation's category is not in the table"),
    "other_box_format": FaultRule("refuse", "the boxes are corners, or normalised"),
}


_DONE = {"accept": "kept", "repair": "repaired", "drop": "dropped"}
# Objects that were dropped, by fault and category id; UNKNOWN_CLASS where that cannot be told.
# Crowds, which are no objects to find, are not among them.
Losses = Counter[tuple[str, int]]
UNKNOWN_CLASS = -1


def too_many_dropped(kept: int, lost: int, max_dropped: float, told: str) -> str | None:
    """Say that no object is left though there were some, or that more are dropped than may be.

    Args:
        kept: objects that are left.
        lost: objects that are dropped.
        max_dropped: the fraction of both that may be dropped.
        told: the reasons, which end the sentence.
    """
    if lost and not kept:
        return f"no object is left: {told}"
    if lost <= max_dropped * (kept + lost):
        return None
    fraction = f"{lost} of {kept + lost} objects are dropped"
    return f"{fraction}, more than max_dropped {max_dropped:g} allows: {told}"


class FaultLog(Mapping[str, int]):
    """Counts of faults by name (a key of RULES), each with the first source location."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, fault: str, where: str, count: int = 1) -> None:
        """Count a fault; where names the file and the row."""
        if fault not in RULES:
            raise KeyError(f"{fault} is no known fault")
        self._counts[fault] = self._counts.get(fault, 0) + count
        self._first.setdefault(fault, where)

    def add_rows(self, fault: str, path: str, locations: Iterator[str], count: int) -> None:
        """Count a fault of `count` rows of a file; `locations` names them, and may stay unread."""
        if count:
            self.add(fault, f"{path}, {next(locations)}", count)

    def refuse(
        self, fault: str, sentence: str, locations: Iterator[str] | None = None, count: int = 1
    ) -> None:
        """Stop at a fault that no rule mends; a log that only looks on may override this.

        Args:
            fault: a key of RULES.
            sentence: what to say about it all.
            locations: the rows that have it, where it is more than one.
            count: how many rows have it.

        Raises:
            DataError: always, saying the sentence.
        """
        del locations, count  # of use to logs that go on
        if fault not in RULES:
            raise KeyError(f"{fault} is no known fault")
        raise DataError(sentence)

    def first(self, fault: str) -> str:
        """Where the fault was met first."""
        return self._first[fault]

    def sentences(self, known: Mapping[str, int] | None = None) -> list[str]:
        """One line a kind of fault, in the order of RULES, where `known` has another count."""
        known = known or {}
        return [
            f"{RULES[fault].meaning}: {self[fault]} "
            f"{_DONE[RULES[fault].action]} "
            f"(first: {self._first[fault]})"
            for fault in RULES
            if self._counts.get(fault, 0) != known.get(fault, 0)
        ]

    def copy(self) -> FaultLog:
        """Give a log that can be added to on its own."""
        return FaultLog.from_dict(self.to_dict())

    def to_dict(self) -> dict[str, list[int | str]]:
        """Give {fault: [count, first source location]}, for a cache file."""
        return {fault: [self[fault], self._first[fault]] for fault in self}

    @classmethod
    def from_dict(cls, values: Mapping[str, list[int | str]]) -> FaultLog:
        """Read what to_dict gave."""
        log = cls()
        for fault, (count, first) in values.items():
            log.add(fault, str(first), int(count))
        return log

    def __getitem__(self, fault: str) -> int:
        return self._counts[fault]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)
