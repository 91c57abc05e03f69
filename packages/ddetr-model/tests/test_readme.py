"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_readme_block_runs(block, tmp_path, monkeypatch):
    """Each block runs from an empty folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


def test_readme_is_short():
    """A newcomer reads it in one go."""
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120
