"""What a check found: one finding a fault and file, and a report that can be shown or stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ddetr_data.check.rules import CHECK_RULES, CheckRule
from ddetr_data.faults import FaultLog

_LISTED = 10_000  # source locations kept of each finding; its count goes on
_SHOWN = 5  # of them in a table
_LONGEST_TEXT = 240  # characters of a table cell
_EXIT_STATUS = {"note": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one file or folder."""

    fault: str  # a key of CHECK_RULES
    file: str
    count: int
    locations: tuple[str, ...]  # rows, images or lines; the first ten thousand

    @property
    def rule(self) -> CheckRule:
        """What is done about it."""
        return CHECK_RULES[self.fault]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "fault": self.fault,
            "severity": self.rule.severity,
            "action": self.rule.action,
            "meaning": self.rule.meaning,
            "file": self.file,
            "count": self.count,
            "places": list(self.locations),  # the key of reports that are written already
        }


@dataclass(frozen=True)
class CheckReport:
    """All findings, the worst first."""

    findings: tuple[Finding, ...]
    images: int
    annotations: int

    @property
    def exit_status(self) -> int:
        """0 nothing worse than notes, 1 warnings, 2 errors."""
        return max((_EXIT_STATUS[found.rule.severity] for found in self.findings), default=0)

    @property
    def counts(self) -> dict[str, int]:
        """Faults counted together, by name."""
        counts: Counter[str] = Counter()
        for found in self.findings:
            counts[found.fault] += found.count
        return dict(counts)

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Severity, fault, count, file, first locations and rule of each finding, as texts."""
        return [
            (
                found.rule.severity,
                found.fault,
                str(found.count),
                _printable(found.file),
                _printable(_shortened(found)),
                f"{found.rule.action}: {found.rule.meaning}",
            )
            for found in self.findings
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "exit_status": self.exit_status,
            "images": self.images,
            "annotations": self.annotations,
            "findings": [found.to_dict() for found in self.findings],
        }


class CheckLog(FaultLog):
    """A log for the readers of labels that stops at no fault, unlike the one of loading.

    What is logged belongs to `file`, which the caller sets before reading one.
    """

    def __init__(self, file: str = "") -> None:
        super().__init__()
        self.file = file
        self._found: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, fault: str, where: str, count: int = 1) -> None:
        """Note a fault at one location in the present file."""
        self.add_rows(fault, self.file, iter((where,)), count)

    def add_rows(self, fault: str, path: str, locations: Iterator[str], count: int) -> None:
        """Count a fault of several rows of a file, and keep where the first of them are."""
        if not count:
            return
        if fault not in CHECK_RULES:
            raise KeyError(f"{fault} is no known fault")
        known, listed = self._found.get((fault, path), (0, []))
        prefix = f"{path}, "
        unread = islice(locations, _LISTED - len(listed))
        fresh = [location.removeprefix(prefix) for location in unread]
        self._found[fault, path] = (known + count, listed + fresh)

    def refuse(
        self, fault: str, sentence: str, locations: Iterator[str] | None = None, count: int = 1
    ) -> None:
        """Note what loading would stop at, and go on; with the rows where these are known."""
        rows = iter((sentence,)) if locations is None else locations
        self.add_rows(fault, self.file, rows, count)

    def first(self, fault: str, files: Collection[str] | None = None) -> str:
        """Where a fault was met first, in any file or in one of these."""
        found = (
            f"{file}, {locations[0]}"
            for (name, file), (_, locations) in self._found.items()
            if name == fault and locations and (files is None or file in files)
        )
        return next(found, "not known")

    def has(self, fault: str, file: str) -> bool:
        """Whether a fault of a file is noted."""
        return (fault, file) in self._found

    def findings(self) -> tuple[Finding, ...]:
        """Everything noted so far: errors, then warnings, then notes, each by file and fault."""
        found = [
            Finding(fault, file, count, tuple(locations))
            for (fault, file), (count, locations) in self._found.items()
        ]
        found.sort(key=lambda one: (-_EXIT_STATUS[one.rule.severity], one.file, one.fault))
        return tuple(found)


def _printable(text: str) -> str:
    """Escape what a terminal or a UTF-8 file cannot take: line ends, broken letters."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _shortened(found: Finding) -> str:
    """The first locations in one line; three dots say that there is more."""
    shown = found.locations[:_SHOWN]
    text = "; ".join(shown)
    is_all = len(text) <= _LONGEST_TEXT and found.count <= len(shown)
    return text if is_all else f"{text[:_LONGEST_TEXT]} ..."
