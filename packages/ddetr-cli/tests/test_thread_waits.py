"""PyTorch's threads shall not keep other programs off the cores for long."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALL = """
from ddetr_cli.app import main
try:
    main(["--version"])
except SystemExit:
    import torch
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch brings libgomp on Linux alone")
@pytest.mark.parametrize(
    ("chosen", "spins"), [({}, "20000"), ({"GOMP_SPINCOUNT": "77"}, "77")], ids=["ours", "theirs"]
)
def test_threads_wait_a_short_time(chosen, spins):
    """libgomp itself says what it read; a choice of the user's stands."""
    known = {name: text for name, text in os.environ.items() if name != "GOMP_SPINCOUNT"}
    known.pop("OMP_WAIT_POLICY", None)
    answer = subprocess.run(
        [sys.executable, "-c", CALL],
        env={**known, **chosen, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in answer.stderr
