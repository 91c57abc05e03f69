"""The README's examples run as they stand, from an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    """Each block may build on those above it."""
    assert BLOCKS
    program = "\n".join(BLOCKS)
    if "ddetr_data.torch" in program:
        pytest.importorskip("torch", reason="the README's last example needs the extra [torch]")
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
