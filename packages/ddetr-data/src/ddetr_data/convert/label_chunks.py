"""Read the labels of a run of images: map classes, judge boxes, count what is left out.

I images, N objects of all images of a chunk together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ddetr_data.boxes import find_normalised, judge_boxes
from ddetr_data.convert.label_rules import LABEL_FILE_RULES
from ddetr_data.convert.sequences import LabelledFile
from ddetr_data.faults import RULES, DataError
from ddetr_data.formats import DONT_CARE, ClassMapping, LabelRow, RowReader
from ddetr_data.images import ImageHeader, read_header

_DECIMALS = 6  # of box sides: drops the noise of subtracting decimal fractions


class Fault(NamedTuple):
    """A file, line or box that breaks a rule."""

    where: str
    reason: str  # a key of LABEL_FILE_RULES or faults.RULES
    class_name: str  # "" where it cannot be told


@dataclass
class Tally:
    """What was kept, dropped and repaired, by reason and source class."""

    kept: Counter[str] = field(default_factory=Counter)  # target class
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)  # (reason, source class)
    repaired: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)  # no faults
    faults: list[Fault] = field(default_factory=list)  # unmapped classes are only counted

    def count(
        self, where: str, reason: str, class_name: str = "", action: str | None = None
    ) -> None:
        """Count what is dropped or repaired, by its rule or as action says, with its location."""
        counts = self.dropped if (action or _action(reason)) == "drop" else self.repaired
        counts[reason, class_name] += 1
        self.faults.append(Fault(where, reason, class_name))

    def add(self, other: Tally) -> None:
        """Add another part's counts and faults."""
        self.kept.update(other.kept)
        self.dropped.update(other.dropped)
        self.repaired.update(other.repaired)
        self.accepted.update(other.accepted)
        self.faults.extend(other.faults)


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
            return [], "missing_label_file"
        except OSError:  # a folder, or no right to read it
            return [], "malformed_label_file"
        except DataError:
            raise
        except Exception as error:  # of a format from outside, whose reader may do anything
            raise DataError(f"{label}: the label format's read_rows failed: {error!r}") from error
        unreadable = bool(rows) and rows[0].fault == "malformed_label_file"
        return rows, rows[0].fault if unreadable else ""

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
            if _action(reason) == "drop":
                usable &= ~mask
        return usable, boxes


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


def _action(reason: str) -> str:
    return (LABEL_FILE_RULES.get(reason) or RULES[reason]).action


def _refuse(label: Path, fault: str) -> NoReturn:
    if fault == "missing_label_file":
        raise FileNotFoundError(f"the label file {label} is missing")
    raise DataError(f"the label file {label} cannot be read")


def _is_dont_care(name: str) -> bool:
    return name.casefold() == DONT_CARE.casefold()
