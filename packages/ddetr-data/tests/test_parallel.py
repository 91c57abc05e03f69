"""Work divided among processes: results in order, and no process that outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ddetr_data.parallel import map_chunks

PATIENCE_SECONDS = 20.0

LONG_WORK = """
import os, sys, time
from pathlib import Path
from ddetr_data.parallel import map_chunks

class Work:
    def __call__(self, chunk):
        Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(0.01)
        return chunk

if __name__ == "__main__":
    for _ in map_chunks(Work(), range(100_000), workers=2):
        pass
"""


def test_results_come_in_order_whoever_does_the_work() -> None:
    """A large number of chunks is divided, a small one is not worth it."""
    assert list(map_chunks(abs, range(-9, 0), workers=2)) == list(range(9, 0, -1))
    assert list(map_chunks(abs, range(-3, 0), workers=2)) == [3, 2, 1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the main process leaves no worker behind."""
    script, seen = tmp_path / "script.py", tmp_path / "seen"
    script.write_text(LONG_WORK)
    seen.mkdir()
    main = subprocess.Popen([sys.executable, str(script), str(seen)])
    assert _within_patience(lambda: len(os.listdir(seen)) == 2)
    main.kill()
    main.wait()
    workers = [int(name) for name in os.listdir(seen)]
    assert _within_patience(lambda: not any(map(_is_alive, workers)))


def _within_patience(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def _is_alive(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"  # ended, and perhaps never waited for in a container
