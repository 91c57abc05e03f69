"""Ranges in which siblings are required, such as ddetr-ops>=0.1,<0.2, and how they move."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releasing.versions import next_breaking

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
            specifiers = SpecifierSet(text)
            parts = {each.operator: _whole(each.version) for each in specifiers}
        except (InvalidSpecifier, InvalidVersion):
            specifiers, parts = SpecifierSet(), {}
        if parts.keys() != {">=", "<"} or len(specifiers) != 2 or parts["<"] <= parts[">="]:
            raise ValueError(f"has {text!r} where a sibling's range reads like >=0.1,<0.2")
        return cls(parts[">="], parts["<"])

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


def sibling_ranges(manifest: str, siblings: Collection[str]) -> dict[str, Range]:
    """Read the siblings' ranges from a manifest's text.

    Raises:
        ValueError: it is no TOML, one has another form, or a sibling has two.
    """
    found: dict[str, Range] = {}
    seen: Counter[str] = Counter()
    for match in REQUIREMENT.finditer(manifest):
        if match["name"] not in siblings:
            continue
        seen[match["name"]] += 1
        read = Range.parse(match["range"])
        if found.setdefault(match["name"], read) != read:
            raise ValueError(
                f"requires {match['name']} in two ranges, {found[match['name']]} and {read}"
            )
    for line, name in _requirements(manifest):
        if name in siblings and not seen[name]:
            raise ValueError(f"has {line!r} where a sibling reads like {name}>=0.1,<0.2")
        seen[name] -= 1
    return found


def _requirements(manifest: str) -> Iterator[tuple[str, str]]:
    """Yield what an installation or a test takes: each line, and the name in it as indexes do."""
    try:
        content: dict[str, Any] = tomllib.loads(manifest)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML: {error}") from None
    project = content.get("project", {})
    tables = (project.get("optional-dependencies", {}), content.get("dependency-groups", {}))
    lists = [project.get("dependencies", []), content.get("build-system", {}).get("requires", [])]
    lists += [each for table in tables for each in table.values()]
    for line in (line for each in lists for line in each if isinstance(line, str)):
        try:
            yield line, canonicalize_name(Requirement(line).name)
        except InvalidRequirement:
            raise ValueError(f"requires {line!r}, which no installer can read") from None


def with_ranges(manifest: str, ranges: Mapping[str, Range]) -> str:
    """Give a manifest's text with new ranges; extras and markers stay."""

    def moved(match: re.Match[str]) -> str:
        new = ranges.get(match["name"])
        return match[0] if new is None else f"{match['open']}{new}{match['close']}"

    return REQUIREMENT.sub(moved, manifest)


def _whole(text: str) -> Version:
    """Read a version that may have fewer than three numbers."""
    version = Version(text)
    if len(version.release) > 3:
        raise InvalidSpecifier(text)
    missing = 3 - len(version.release)
    return Version(version.base_version + ".0" * missing + text[len(version.base_version) :])


def _short(version: Version) -> str:
    """Write 0.1.0 as 0.1; whatever has a third number, or is no release, whole."""
    whole = str(version)
    return whole.removesuffix(".0") if whole.count(".") == 2 else whole
