"""The pages in docs/ that cite the code: what they cite is there, and their own code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NUMERICS = (DOCS / "numerics.md").read_text("utf-8")


def cited_file(name: str) -> Path:
    """A path of the repository, or one below packages/."""
    return next(path for path in (ROOT / name, ROOT / "packages" / name) if path.exists())


@pytest.mark.parametrize(("file", "name"), re.findall(r"`([\w/-]+\.py)::(\w+)`", NUMERICS))
def test_a_test_that_numerics_names_is_there(file: str, name: str) -> None:
    """Each statement has its test."""
    assert f"def {name}(" in cited_file(file).read_text("utf-8")


@pytest.mark.parametrize(("file", "line"), re.findall(r"`([\w/-]+\.py): ([^`]+)`", NUMERICS))
def test_a_number_of_numerics_is_the_sources(file: str, line: str) -> None:
    """A tolerance that changes there changes on the page."""
    assert line in cited_file(file).read_text("utf-8")


@pytest.mark.parametrize("name", re.findall(r"`([\w/-]+\.(?:json|py))`", NUMERICS))
def test_a_file_that_numerics_names_is_there(name: str) -> None:
    """Records and sources."""
    assert cited_file(name).is_file()


def test_the_largest_difference_is_the_records() -> None:
    """Of weights, between one process and others."""
    record = (ROOT / "proofs" / "results" / "clusters.json").read_text("utf-8")
    found = re.findall(r"largest difference of a weight\": ([\d.e-]+)", record)
    assert f"{max(map(float, found)):.1e}".replace("e-07", "e-7") in NUMERICS
