"""The README's code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_block_runs(block, tmp_path, monkeypatch):
    """From an empty folder, without data."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


def test_it_stays_short():
    """Under 120 lines."""
    assert len(README.read_text().splitlines()) < 120
