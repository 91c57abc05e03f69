"""The pages in docs/ that cite the code: what they cite is there, and their own code runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import architecture_picture
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NUMERICS = (DOCS / "numerics.md").read_text("utf-8")
ATTENTION = DOCS / "deformable-attention.md"


def cited_file(name: str) -> Path:
    """A path of the repository, or one below packages/."""
    return next(path for path in (ROOT / name, ROOT / "packages" / name) if path.exists())


def test_the_picture_is_what_the_imports_say() -> None:
    """After a change of wings or arrows: python scripts/architecture_picture.py."""
    assert architecture_picture.TARGET.read_text("utf-8") == architecture_picture.picture()


def test_the_picture_draws_every_package_and_wing() -> None:
    """Wings that a package has stand in its box, each in one row."""
    for box in architecture_picture.placed_boxes():
        folder = ROOT / "packages" / box.package.replace("_", "-") / "src" / box.package
        found = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
        assert sorted(wing for row in box.rows for wing in row) == found


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


@pytest.fixture(scope="module")
def attention(run_page: Any) -> dict[str, Any]:
    """Run the page's blocks, which compare and assert; gives what they have named."""
    names: dict[str, Any] = run_page(ATTENTION, "attention")[0]
    return names


def test_the_attention_of_the_page_agrees_with_the_operator(attention: dict[str, Any]) -> None:
    """Its blocks have run to the last one, the check of the gradient."""
    assert attention["few"][0].dtype == attention["torch"].float64


def test_the_attention_of_the_page_has_fifty_lines() -> None:
    """Lines of code, without blank ones, up to where the comparison begins."""
    building, comparing, _ = ATTENTION.read_text("utf-8").partition("## Compared with")
    assert comparing
    blocks = re.findall(r"```python\n(.*?)```", building, re.DOTALL)
    functions = [block for block in blocks if re.match(r"(def|class) ", block)]
    assert len([line for block in functions for line in block.splitlines() if line.strip()]) <= 50


def test_the_page_of_other_projects_runs(run_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks assert what the page says; the module that they put in place goes away again."""
    name = "MultiScaleDeformableAttention"
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, name)
    names, _ = run_page(DOCS / "other-projects.md", "other_projects")
    assert names["MSDA"].__name__ == name
