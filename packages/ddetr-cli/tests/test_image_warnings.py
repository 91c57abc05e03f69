"""Pillow's warnings do not cut through the command's own lines."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALL = """
import subprocess, sys
from ddetr_cli.app import main
for _ in range(2):
    try:
        main(["--version"])
    except SystemExit:
        pass
warn = "import warnings; warnings.warn_explicit('odd EXIF', UserWarning, 'a', 1, 'PIL.Image')"
exec(warn)
subprocess.run([sys.executable, "-c", warn], check=True)
"""


@pytest.mark.parametrize(("asked", "times"), [("", 0), ("always:::PIL.Image", 2)])
def test_images_warn_only_who_asks_for_it(asked: str, times: int) -> None:
    """Neither this process nor a worker says what Pillow thinks of an image."""
    known = {name: text for name, text in os.environ.items() if name != "PYTHONWARNINGS"}
    environment = known | ({"PYTHONWARNINGS": asked} if asked else {})
    answer = subprocess.run(
        [sys.executable, "-c", CALL], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stderr.count("odd EXIF") == times
