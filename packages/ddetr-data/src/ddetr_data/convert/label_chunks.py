"""Read the labels of a run of images: map classes, judge boxes, count what is left out.

I images, N objects of all images of a chunk together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import find_normalised, find_repeats, judge_boxes
from ddetr_data.convert.label_rules import LABEL_FILE_RULES
from ddetr_data.convert.sequences import LabelledFile
from ddetr_data.convert.tally import MISSING, UNREADABLE, Tally, action_of
from ddetr_data.faults import RULES, DataError
from ddetr_data.files import is_of_this_process
from ddetr_data.formats import DONT_CARE, ClassMapping, LabelRow, RowReader
from ddetr_data.images import ImageHeader, read_header

_UNREADABLE_LINES = frozenset({"malformed_line", "ambiguous_line"})
_DECIMALS = 6  # of box sides: drops the noise of subtracting decimal fractions


@dataclass(frozen=True, eq=False)
class LabelChunk:
    """The labels of some images, as columns that travel fast between processes."""

    file_names: list[str]  # (I,)
    sequences: list[int]  # (I,)
    sizes_wh: list[tuple[int, int]]  # (I,)
    counts: list[int]  # (I,), objects of each image
    class_names: list[str | None]  # (N,), target classes; None for a region of every class
    boxes_xywh: NDArray[np.float64]  # (N, 4), pixels
    is_region: NDArray[np.bool_]  # (N,)
    tally: Tally


@dataclass(frozen=True)
class ChunkReader:
    """Reads label files of one format; picklable, so that other processes can do it."""

    read_rows: RowReader
    mapping: ClassMapping | None  # None keeps every class under its own name
    missing_labels: Literal["skip", "empty", "error"]
    ignore_regions: bool = False  # what is marked to be ignored becomes a region

    def __call__(self, files: Sequence[LabelledFile]) -> LabelChunk:
        """Read the files in order.

        Raises:
            FileNotFoundError: a label file is missing and missing_labels is "error".
            DataError: a label file cannot be read, likewise.
        """
        tally = Tally()
        kept: list[tuple[LabelledFile, tuple[int, int]]] = []
        rows: list[LabelRow] = []
        owners: list[int] = []  # index into kept, for each row
        for file in files:
            read = self._read_image(file, tally)
            if read is not None:
                size_wh, objects = read
                owners.extend([len(kept)] * len(objects))
                kept.append((file, size_wh))
                rows.extend(objects)
        sizes_wh = [size_wh for _, size_wh in kept]
        usable, boxes = self._judge(
            rows, np.array(sizes_wh, np.int32).reshape(-1, 2)[owners], tally
        )
        used = [row for row, use in zip(rows, usable, strict=True) if use]
        names = [self._target(row.name) for row in used]
        is_region = [self._is_region(row) for row in used]
        for row, name, region in zip(used, names, is_region, strict=True):
            if name is not None and not region:
                tally.kept[name] += 1
            if region or row.is_ignored:
                tally.accepted["ignore_region" if region else "marked_ignore", row.name] += 1
        _count_repeats(used, np.array(owners, np.int64)[usable], names, boxes[usable], tally)
        return LabelChunk(
            file_names=[file.file_name for file, _ in kept],
            sequences=[file.sequence for file, _ in kept],
            sizes_wh=sizes_wh,
            counts=np.bincount(np.array(owners, np.int64)[usable], minlength=len(kept)).tolist(),
            class_names=names,
            boxes_xywh=boxes[usable],
            is_region=np.array(is_region, np.bool_),
            tally=tally,
        )

    def _read_image(
        self, file: LabelledFile, tally: Tally
    ) -> tuple[tuple[int, int], list[LabelRow]] | None:
        """Size and mapped rows of an image; None when it is left out."""
        try:
            header = read_header(file.image)
        except (DataError, FileNotFoundError):
            tally.count(str(file.image), "unreadable_image")
            return None
        rows, fault = self._rows_of(file.label, header)
        if not fault and file.shares_label:
            tally.count(str(file.label), "shared_label_file")
        if not fault:
            return header.size_wh, [row for row in rows if self._is_wanted(row, tally)]
        for row in rows:
            if row.fault in _UNREADABLE_LINES:
                tally.count(row.where, row.fault, row.name)
        # Without labels an image may hold objects: it is background only if that is asked for.
        if self.missing_labels == "error":
            _refuse(file.label, fault)
        if self.missing_labels == "empty":
            tally.count(str(file.label), fault, action="repair")
            return header.size_wh, []
        tally.count(str(file.label), fault)
        return None

    def _rows_of(self, label: Path, header: ImageHeader) -> tuple[list[LabelRow], str]:
        """All rows of a label file, or what keeps it from being read."""
        try:
            rows = [_checked(row, label) for row in self.read_rows(label, header)]
        except FileNotFoundError:
            return [], MISSING
        except OSError as error:
            if is_of_this_process(error):
                raise
            return [], UNREADABLE  # no right to read it, or a damaged disk
        except DataError:
            raise
        except Exception as error:  # of a format from outside, whose reader may do anything
            raise DataError(f"{label}: the label format's read_rows failed: {error!r}") from error
        # A file of which no line can be read tells no more of its image than one that is missing.
        told = {row.fault for row in rows if not row.fault or action_of(row.fault) == "drop"}
        return rows, UNREADABLE if told and told <= {UNREADABLE, *_UNREADABLE_LINES} else ""

    def _is_wanted(self, row: LabelRow, tally: Tally) -> bool:
        if row.fault:
            tally.count(row.where, row.fault, row.name)
            return False
        if self._target(row.name) is None and not self._is_region(row):
            reason = "dont_care" if _is_dont_care(row.name) else "unmapped_class"
            tally.dropped[reason, row.name] += 1
            return False
        return True

    def _is_region(self, row: LabelRow) -> bool:
        """Whether a row becomes a region: of its class, or of every class as DontCare."""
        has_class = self._target(row.name) is not None
        return self.ignore_regions and (row.is_ignored if has_class else _is_dont_care(row.name))

    def _target(self, name: str) -> str | None:
        if self.mapping is not None:
            return self.mapping.target(name)
        return None if _is_dont_care(name) else name

    def _judge(
        self, rows: list[LabelRow], sizes_wh: NDArray[np.int32], tally: Tally
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which rows have a usable box, (N,), and the clipped boxes, (N, 4) left, top, w, h."""
        corners = np.array([row.box_xyxy for row in rows], np.float64).reshape(-1, 4)
        with np.errstate(invalid="ignore"):  # infinity minus infinity; judged below
            sides = np.round(corners[:, 2:] - corners[:, :2], _DECIMALS)
        # As in COCO files: a normalised box may be a zero box too, and a row has one fault.
        unjudged = np.concatenate([corners[:, :2], sides], axis=1)
        normalised = find_normalised(unjudged, sizes_wh)
        boxes, masks = judge_boxes(unjudged, sizes_wh)
        others = {name: mask & ~normalised for name, mask in masks.items()}
        masks = {"normalised_box": normalised, **others}
        usable = np.ones(len(rows), np.bool_)
        for reason, mask in masks.items():
            for index in np.flatnonzero(mask):
                tally.count(rows[index].where, reason, rows[index].name)
            if action_of(reason) == "drop":
                usable &= ~mask
        return usable, boxes


def _count_repeats(
    rows: Sequence[LabelRow],
    owners: NDArray[np.int64],  # (N,)
    names: Sequence[str | None],  # (N,), target classes
    boxes_xywh: NDArray[np.float64],  # (N, 4)
    tally: Tally,
) -> None:
    """Count boxes of usable rows that stand on their image again with their class; all stay."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    labels = np.array([numbers[name] for name in names], np.int64)
    for index in np.flatnonzero(find_repeats(owners, labels, *boxes_xywh.T)).tolist():
        tally.count(rows[index].where, "repeated_box", rows[index].name)


def _checked(row: object, label: Path) -> LabelRow:
    """Refuse what the reader of a format from outside may give instead of a row."""
    if not isinstance(row, LabelRow):
        raise DataError(f"{label}: read_rows must give LabelRows, got {row!r}")
    if row.fault and row.fault not in LABEL_FILE_RULES and row.fault not in RULES:
        known = ", ".join(sorted(LABEL_FILE_RULES))
        raise DataError(f"{row.where}: {row.fault!r} is no fault of a label file; known: {known}")
    if len(row.box_xyxy) != 4:
        raise DataError(f"{row.where}: a box has four numbers, got {row.box_xyxy}")
    return row


def _refuse(label: Path, fault: str) -> NoReturn:
    if fault == MISSING:
        raise FileNotFoundError(f"the label file {label} is missing")
    raise DataError(f"the label file {label} cannot be read")


def _is_dont_care(name: str) -> bool:
    return name.casefold() == DONT_CARE.casefold()
