"""Ranges in which siblings are required, such as ddetr-ops>=0.1,<0.2, and how they move."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from releasing.versions import next_breaking

# A requirement of a sibling as a manifest writes it; a name without a range is no requirement.
REQUIREMENT = re.compile(
    r"""(?P<open>["'](?P<name>ddetr-[a-z0-9-]+)(?:\[[^\]]*\])?\s*)"""
    r"""(?P<range>[<>=!~][^"';]*?)(?P<close>\s*(?:;[^"']*)?["'])"""
)


@dataclass(frozen=True)
class Range:
    """From a floor up to, and without, the next version that may break."""

    floor: Version
    below: Version

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read ">=0.1,<0.2".

        Raises:
            ValueError: it has another form.
        """
        try:
            parts = {each.operator: each.version for each in SpecifierSet(text)}
        except InvalidSpecifier:
            parts = {}
        if parts.keys() != {">=", "<"}:
            raise ValueError(f"has {text!r} where a sibling's range reads like >=0.1,<0.2")
        return cls(_whole(parts[">="]), _whole(parts["<"]))

    def __str__(self) -> str:
        return f">={_short(self.floor)},<{_short(self.below)}"

    def admits(self, version: Version) -> bool:
        """Tell whether the range holds a version; a pre-release, if its release would be too.

        A pre-release of the upper bound is outside, as PEP 440 has it.
        """
        return SpecifierSet(str(self)).contains(version, prereleases=True)

    def moved(self, version: Version, *, needed: bool) -> Range:
        """Give the range that admits a version, and begins with it where it is needed.

        A floor that is a pre-release becomes the release as soon as that, or a later one, is out.
        """
        floor, below = self.floor, self.below
        if floor.is_prerelease and not version.is_prerelease:
            floor = min(Version(floor.base_version), version)
        if needed or version < floor:
            floor = version
        if Version(version.base_version) >= below:
            below = next_breaking(version)
        return Range(floor, below)


def sibling_ranges(manifest: str, siblings: Container[str]) -> dict[str, Range]:
    """Read the siblings' ranges from a manifest's text.

    Raises:
        ValueError: one has another form, or a sibling has two.
    """
    found: dict[str, Range] = {}
    for match in REQUIREMENT.finditer(manifest):
        if match["name"] not in siblings:
            continue
        read = Range.parse(match["range"])
        if found.setdefault(match["name"], read) != read:
            raise ValueError(
                f"requires {match['name']} in two ranges, {found[match['name']]} and {read}"
            )
    return found


def with_ranges(manifest: str, ranges: Mapping[str, Range]) -> str:
    """Give a manifest's text with new ranges; extras and markers stay."""

    def moved(match: re.Match[str]) -> str:
        new = ranges.get(match["name"])
        return match[0] if new is None else f"{match['open']}{new}{match['close']}"

    return REQUIREMENT.sub(moved, manifest)


def _whole(text: str) -> Version:
    """Read a version that may have fewer than three numbers."""
    version = Version(text)
    missing = 3 - len(version.release)
    return Version(version.base_version + ".0" * missing + text[len(version.base_version) :])


def _short(version: Version) -> str:
    """Write 0.1.0 as 0.1; whatever has a third number, or is no release, whole."""
    whole = str(version)
    return whole.removesuffix(".0") if whole.count(".") == 2 else whole
