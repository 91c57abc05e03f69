"""Versions that may follow each other, and how a sibling's range moves for them."""

from __future__ import annotations

import pytest
from packaging.version import Version
from releasing.ranges import Range, sibling_ranges, with_ranges
from releasing.versions import (
    LEVELS,
    as_prerelease,
    followers,
    may_follow,
    parse_version,
    raised,
)

SIBLINGS = ("ddetr-data", "ddetr-ops")
MANIFEST = """
dependencies = [
  "ddetr-data[crypto,torch]>=0.1,<0.2",
  'ddetr-ops >= 0.1.1, < 0.2 ; python_version >= "3.10"',
  "numpy>=1.24",
  "ddetr-dropin>=0.1",
]
[project.scripts]
ddetr = "ddetr_cli.app:main"
name = "ddetr-model"
"""


@pytest.mark.parametrize(
    ("before", "version", "needed", "after"),
    [
        (">=0.1,<0.2", "0.1.1", False, ">=0.1,<0.2"),
        (">=0.1,<0.2", "0.1.1", True, ">=0.1.1,<0.2"),
        (">=0.1,<0.2", "0.1.0.post1", False, ">=0.1,<0.2"),
        (">=0.1,<0.2", "0.2.0", False, ">=0.1,<0.3"),
        (">=0.1,<0.2", "0.2.0", True, ">=0.2,<0.3"),
        (">=0.1,<0.2", "0.2.0a1", False, ">=0.1,<0.3"),
        (">=0.1,<0.2", "0.2.0a1", True, ">=0.2.0a1,<0.3"),
        (">=0.1,<0.2", "0.2.0.dev1", False, ">=0.1,<0.3"),
        (">=0.1,<0.2", "0.1.0rc1", False, ">=0.1.0rc1,<0.2"),
        (">=0.1.0rc1,<0.2", "0.1.0", False, ">=0.1,<0.2"),
        (">=0.2.0a1,<0.3", "0.2.0", False, ">=0.2,<0.3"),
        (">=0.2.0a1,<0.3", "0.2.0b1", False, ">=0.2.0a1,<0.3"),
        (">=0.9,<0.10", "1.0.0", False, ">=0.9,<2.0"),
        (">=1.2,<2.0", "1.3.0", False, ">=1.2,<2.0"),
        (">=1.2,<2.0", "1.3.4", True, ">=1.3.4,<2.0"),
    ],
)
def test_a_range_moves_as_far_as_it_must(
    before: str, version: str, needed: bool, after: str
) -> None:
    """It takes the new version, and begins with it only where that is needed."""
    moved = Range.parse(before).moved(Version(version), needed=needed)
    assert str(moved) == after
    assert moved.admits(Version(version))


def test_requirements_keep_their_extras_and_markers() -> None:
    """Only ranges of siblings change; a name without a range and other projects do not."""
    ranges = sibling_ranges(MANIFEST, SIBLINGS)
    assert {name: str(each) for name, each in ranges.items()} == {
        "ddetr-data": ">=0.1,<0.2",
        "ddetr-ops": ">=0.1.1,<0.2",
    }
    moved = with_ranges(MANIFEST, {"ddetr-ops": Range.parse(">=0.2,<0.3")})
    assert "'ddetr-ops >=0.2,<0.3 ; python_version >= \"3.10\"'" in moved
    assert moved.replace(">=0.2,<0.3", ">= 0.1.1, < 0.2") == MANIFEST


@pytest.mark.parametrize("text", ["~=0.1", ">=0.1", "==0.1.0", ">=0.1,<0.2,!=0.1.3", ">=x,<0.2"])
def test_a_range_of_another_form_is_refused(text: str) -> None:
    """The text says how one reads."""
    with pytest.raises(ValueError, match=r"a sibling's range reads like >=0\.1,<0\.2"):
        sibling_ranges(f'"ddetr-ops{text}"', SIBLINGS)


def test_two_ranges_of_one_sibling_are_refused() -> None:
    """A package with an extra must not require another version than without."""
    with pytest.raises(ValueError, match="requires ddetr-ops in two ranges"):
        sibling_ranges('"ddetr-ops>=0.1,<0.2"\n"ddetr-ops>=0.1,<0.3"', SIBLINGS)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("0.1.0", ["0.1.1", "0.2.0", "1.0.0"]),
        ("1.4.2", ["1.4.3", "1.5.0", "2.0.0"]),
        ("0.2.0a1", ["0.2.0", "1.0.0"]),
        ("0.1.1rc1", ["0.1.1", "0.2.0", "1.0.0"]),
        ("1.0.0.dev3", ["1.0.0"]),
        ("0.1.0.post1", ["0.1.1", "0.2.0", "1.0.0"]),
    ],
)
def test_three_releases_follow_one(stated: str, expected: list[str]) -> None:
    """After a pre-release comes its own release first."""
    assert [str(each) for each in followers(Version(stated))] == expected


@pytest.mark.parametrize(
    ("stated", "version", "may"),
    [
        ("0.1.0", "0.2.0a1", True),
        ("0.2.0a1", "0.2.0a2", True),
        ("0.2.0a1", "0.2.0rc1", True),
        ("0.2.0.dev1", "0.2.0a1", True),
        ("0.2.0rc1", "0.2.0", True),
        ("0.2.0rc1", "0.2.0a2", False),
        ("0.2.0a1", "0.3.0", False),
        ("0.1.0", "0.1.0.post1", True),
        ("0.1.0.post1", "0.1.0.post2", True),
        ("0.1.0", "0.1.1.post1", False),
        ("0.2.0a1", "0.1.1", False),
        ("0.1.0", "0.3.0a1", False),
    ],
)
def test_prereleases_lead_to_a_release_that_may_follow(
    stated: str, version: str, may: bool
) -> None:
    """Their order is that of PEP 440: dev, a, b, rc, the release, post."""
    assert may_follow(Version(stated), Version(version)) is may


@pytest.mark.parametrize(
    "text", ["0.2", "v0.2.0", "0.2.0-rc1", "0.2.0alpha1", "1!0.2.0", "0.2.0+cu12", "0.2.0.0", "two"]
)
def test_a_version_has_one_spelling(text: str) -> None:
    """That of the index, with three numbers; what no index takes is refused too."""
    with pytest.raises(ValueError, match=r"a version reads like 0\.2\.0"):
        parse_version(text)


@pytest.mark.parametrize(
    ("stated", "kind", "version"),
    [
        ("0.1.0", "fixed", "0.1.1"),
        ("0.1.0", "security", "0.1.1"),
        ("0.1.0", "added", "0.1.1"),
        ("0.1.0", "changed", "0.2.0"),
        ("0.1.0", "removed", "0.2.0"),
        ("1.2.3", "fixed", "1.2.4"),
        ("1.2.3", "added", "1.3.0"),
        ("1.2.3", "changed", "2.0.0"),
        ("0.1.1a1", "changed", "0.2.0"),
        ("0.2.0a1", "changed", "0.2.0"),
        ("1.1.0a1", "changed", "2.0.0"),
        ("1.0.0rc1", "changed", "1.0.0"),
    ],
)
def test_what_changed_says_which_number_rises(stated: str, kind: str, version: str) -> None:
    """While versions begin with 0, the second number is the one that may break."""
    assert str(raised(Version(stated), LEVELS[kind])) == version


@pytest.mark.parametrize(
    ("stated", "kind", "version"),
    [
        ("0.1.0", "a", "0.2.0a1"),
        ("0.2.0a1", "a", "0.2.0a2"),
        ("0.2.0a2", "rc", "0.2.0rc1"),
        ("0.1.0", "dev", "0.2.0.dev1"),
        ("0.2.0.dev1", "dev", "0.2.0.dev2"),
    ],
)
def test_prereleases_are_counted(stated: str, kind: str, version: str) -> None:
    """The next of the same kind has the next number."""
    assert str(as_prerelease(Version(stated), Version("0.2.0"), kind)) == version


@pytest.mark.parametrize(
    "line",
    [
        "ddetr_ops>=0.1,<0.2",
        "DDETR-Ops>=0.1,<0.2",
        " ddetr-ops>=0.1,<0.2",
        "ddetr-ops [a] (>=0.1,<0.2)",
        "ddetr-ops[a]",
        "ddetr-ops @ file:///ops",
    ],
)
@pytest.mark.parametrize(
    "table",
    ["project]\ndependencies", "project.optional-dependencies]\nx", "dependency-groups]\nx"],
)
def test_a_sibling_in_another_spelling_is_refused(line: str, table: str) -> None:
    """Its range would not move, and the workspace would no longer resolve."""
    with pytest.raises(ValueError, match=r"a sibling reads like ddetr-ops>=0\.1,<0\.2"):
        sibling_ranges(f'[{table} = ["{line}"]\n', SIBLINGS)


@pytest.mark.parametrize("text", [">=0.1,<0.2,<0.3", ">=0.3,<0.2", ">=0.1.*,<0.2", ">=0.1.0.0,<1"])
def test_a_range_that_is_odd_is_refused(text: str) -> None:
    """Twice bounded, empty, or of versions that no release has."""
    with pytest.raises(ValueError, match=r"a sibling's range reads like >=0\.1,<0\.2"):
        sibling_ranges(f'"ddetr-ops{text}"', SIBLINGS)
