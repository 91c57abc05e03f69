"""Versions as PEP 440 has them, three numbers each, and which may follow which."""

from __future__ import annotations

from typing import Literal

from packaging.version import InvalidVersion, Version

# How much a release changes for those who use it, by the type of its changelog's fragments.
Level = Literal["fix", "feature", "breaking"]
LEVELS: dict[str, Level] = {
    "added": "feature",
    "changed": "breaking",
    "deprecated": "feature",
    "removed": "breaking",
    "fixed": "fix",
    "security": "fix",
}
PRE_KINDS = ("dev", "a", "b", "rc")


def parse_version(text: str) -> Version:
    """Read a version that may be released, in the spelling that the index shows.

    Raises:
        ValueError: it is none, has not three numbers, or says what an index does not take.
    """
    try:
        version = Version(text)
    except InvalidVersion:
        version = None
    if (
        version is None
        or str(version) != text
        or len(version.release) != 3
        or version.epoch
        or version.local
        or (version.is_postrelease and version.is_prerelease)
    ):
        raise ValueError(
            "a version reads like 0.2.0, 0.2.0.dev1, 0.2.0a1, 0.2.0rc1 or 0.2.0.post1, "
            f"not {text!r}"
        )
    return version


def next_breaking(version: Version) -> Version:
    """Give the next version that may break: 0.3.0 after 0.2.1, 2.0.0 after 1.4.0."""
    major, minor, _ = _numbers(version)
    return Version(f"{major + 1}.0.0" if major else f"0.{minor + 1}.0")


def followers(stated: Version) -> list[Version]:
    """Give the releases that may follow a version, as semantic versioning has it.

    After a pre-release come its own release and the larger ones; 0.2.0 is after 0.2.0a1, not 0.2.1.
    """
    major, minor, patch = _numbers(stated)
    larger = [Version(f"{major}.{minor + 1}.0"), Version(f"{major + 1}.0.0")]
    if not stated.is_prerelease:
        return [Version(f"{major}.{minor}.{patch + 1}"), *larger]
    own = Version(stated.base_version)
    return [own, *(larger if patch else larger[1:] if minor else [])]


def may_follow(stated: Version, version: Version) -> bool:
    """Tell whether a version, or the release that it precedes, comes after the stated one."""
    base = Version(version.base_version)
    if version.is_postrelease:
        return (
            version > stated and base == Version(stated.base_version) and not stated.is_prerelease
        )
    return version > stated and base in followers(stated)


def raised(stated: Version, level: Level) -> Version:
    """Give the release that follows a version by what has changed since.

    While versions begin with 0, the second number is the one that may break, and all else raises
    the third.
    """
    patch, *larger = followers(stated)
    if level == "fix" or (level == "feature" and not stated.major):
        return patch
    major, minor, third = _numbers(stated)
    if level == "breaking" and major:
        return patch if stated.is_prerelease and not (minor or third) else larger[-1]
    return patch if stated.is_prerelease and not third else larger[0]


def as_prerelease(stated: Version, release: Version, kind: str) -> Version:
    """Give the next pre-release of a release: 0.2.0a2 if 0.2.0a1 is stated."""
    number = 1
    if stated.base_version == release.base_version:
        if kind == "dev" and stated.dev is not None:
            number = stated.dev + 1
        elif stated.pre is not None and stated.pre[0] == kind:
            number = stated.pre[1] + 1
    return Version(f"{release}.dev{number}" if kind == "dev" else f"{release}{kind}{number}")


def _numbers(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.micro
