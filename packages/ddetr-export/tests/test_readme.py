"""The README's examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_readmes_examples_run(tmp_path, monkeypatch) -> None:
    """Every python block runs, one after the other, in an empty folder."""
    for module in ("torch", "ddetr_model", "timm", "fastapi"):
        pytest.importorskip(module)
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
