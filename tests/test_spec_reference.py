"""docs/spec.md says what the config models say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_reference_of_keys_is_up_to_date() -> None:
    """A key, default or limit that changes is written again by scripts/spec_reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/spec_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "spec.md").read_text("utf-8") == module.reference()


def test_every_key_has_a_meaning() -> None:
    """No row of the reference ends in an empty cell."""
    rows = (ROOT / "docs" / "spec.md").read_text("utf-8").splitlines()
    assert not [row for row in rows if row.startswith("| `") and row.endswith("|  |")]
