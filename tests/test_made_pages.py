"""Pages that scripts make say what they are made from."""

from __future__ import annotations

from pathlib import Path

import benchmark_table
import recipe_table
import spec_reference
import tao_reference

ROOT = Path(__file__).parent.parent


def test_the_reference_of_keys_is_up_to_date() -> None:
    """A key, default or limit that changes is written again by scripts/spec_reference.py."""
    assert (ROOT / "docs" / "spec.md").read_text("utf-8") == spec_reference.reference()


def test_the_tables_of_tao_are_up_to_date() -> None:
    """A row that changes is written again by scripts/tao_reference.py."""
    # fault 46
    assert (ROOT / "docs" / "tao.md").read_text("utf-8") == tao_reference.reference()


def test_the_table_of_benchmarks_is_up_to_date() -> None:
    """A figure that is measured anew is written again by scripts/benchmark_table.py."""
    assert (ROOT / "benchmarks" / "README.md").read_text("utf-8") == benchmark_table.page()


def test_the_tables_of_recipes_are_up_to_date() -> None:
    """A recipe that is measured anew is written again by scripts/recipe_table.py."""
    assert (ROOT / "docs" / "recipes.md").read_text("utf-8") == recipe_table.page()


def test_every_key_has_a_meaning() -> None:
    """No row of the reference ends in an empty cell."""
    rows = (ROOT / "docs" / "spec.md").read_text("utf-8").splitlines()
    assert not [row for row in rows if row.startswith("| `") and row.endswith("|  |")]
