"""What reading label files kept, dropped and repaired, and whether that is enough to go on with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ddetr_data.convert.label_rules import LABEL_FILE_RULES
from ddetr_data.faults import RULES, too_many_dropped

MISSING, UNREADABLE = "missing_label_file", "malformed_label_file"
# Not dropped by the rules for faulty labels, but as the mapping or KITTI itself says.
_UNWANTED = frozenset({"unmapped_class", "dont_care"})
_FILE_FAULTS = frozenset({MISSING, UNREADABLE, "unreadable_image", "label_without_image"})


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
        done = action or action_of(reason)
        counts = {"drop": self.dropped, "accept": self.accepted}.get(done, self.repaired)
        counts[reason, class_name] += 1
        self.faults.append(Fault(where, reason, class_name))

    @property
    def lost_objects(self) -> int:
        """Objects of wanted classes, and lines that may be such, which the rules drop."""
        skipped = _UNWANTED | _FILE_FAULTS
        return sum(n for (reason, _), n in self.dropped.items() if reason not in skipped)

    @property
    def has_lost(self) -> bool:
        """Whether anything dropped may have held an object; a missing label file tells of none."""
        harmless = {MISSING, "unreadable_image", "dont_care"}
        return any(reason not in harmless for reason, _ in self.dropped)

    @property
    def listed_drops(self) -> str:
        """All that is dropped, by reason and class; DontCare says that nothing is there."""
        counts = {key: count for key, count in self.dropped.items() if key[0] != "dont_care"}
        listed = ", ".join(f"{n} x {' '.join(key).strip()}" for key, n in sorted(counts.items()))
        first = f"; the first fault is at {self.faults[0].where}" if counts and self.faults else ""
        return listed + first

    def add(self, other: Tally) -> None:
        """Add another part's counts and faults."""
        self.kept.update(other.kept)
        self.dropped.update(other.dropped)
        self.repaired.update(other.repaired)
        self.accepted.update(other.accepted)
        self.faults.extend(other.faults)


def too_little_left(tally: Tally, images: int, max_dropped: float) -> str | None:
    """Say that no image or object is left, or that more objects are dropped than may be."""
    kept, told = sum(tally.kept.values()), tally.listed_drops
    if not images:
        return f"no image is left: {told}"
    lost = tally.lost_objects if kept else int(tally.has_lost)
    return too_many_dropped(kept, lost, max_dropped, told)


def action_of(reason: str) -> str:
    """The rule of a fault, of a label file or of any labels."""
    return (LABEL_FILE_RULES.get(reason) or RULES[reason]).action
