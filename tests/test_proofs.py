"""The longer proofs: a slice of each runs here, and the record of each is committed."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "bounds": "proofs.bounds",
    "browsers": "proofs.browsers",
    "clusters": "proofs.clusters",
    "decoders": "proofs.decoders",
    "dropin": "proofs.dropin",
    "fuzz": "proofs.fuzz",
    "load": "proofs.load",
    "release": "proofs.release_train",
    "strace": "proofs.strace",
    "tensorrt": "proofs.tensorrt_bindings",
    "torch": "proofs.torch_versions",
    "wheels": "proofs.wheels",
}
# The slice of `browsers` is packages/ddetr-export/tests/test_page.py and tests/test_report_page.py,
# which run by themselves.
SLICED = sorted(MODULES.keys() - {"browsers"})
PROGRAMS = {"strace": "strace"}
PACKAGES = {
    "clusters": "ray",
    "decoders": "fastapi",
    "dropin": "transformers",
    "fuzz": "fastapi",
    "load": "fastapi",
}
FIELDS = {
    "topic": str,
    "slice": bool,
    "commit": str,
    "machine": dict,
    "seconds": int,
    "tried": list,
    "counts": dict,
    "figures": dict,
    "known": dict,
    "failures": dict,
}


@pytest.mark.slow
@pytest.mark.parametrize("topic", SLICED)
def test_a_slice_of_the_proof_holds(topic: str) -> None:
    """A small part of what `make proof-<topic>` tries, with nothing that failed."""
    if topic in PROGRAMS and shutil.which(PROGRAMS[topic]) is None:
        pytest.skip(f"{PROGRAMS[topic]} is not installed")
    if topic in PACKAGES:
        pytest.importorskip(PACKAGES[topic])
    ran = subprocess.run(
        [sys.executable, "-m", MODULES[topic], "--slice"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    record = json.loads(ran.stdout)
    assert record["slice"] is True
    assert sum(record["counts"].values()) > 0


@pytest.mark.parametrize("topic", sorted(MODULES))
def test_the_whole_proof_is_on_record(topic: str) -> None:
    """Its record says when, of which commit and where it ran, what it tried, and no failure."""
    record = json.loads((ROOT / "proofs" / "results" / f"{topic}.json").read_text("utf-8"))
    assert {name: type(value) for name, value in record.items()} == FIELDS
    assert (record["topic"], record["slice"], record["failures"]) == (topic, False, {})
    assert re.fullmatch(r"[0-9a-f]{7,40}", record["commit"]), "made with uncommitted changes"
    assert datetime.date.fromisoformat(record["machine"]["date"])
    assert record["tried"]
    assert sum(record["counts"].values()) > 0


def test_every_proof_is_a_target() -> None:
    """`make help` lists each, and each stands in the table of CONTRIBUTING."""
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for topic in MODULES:
        assert re.search(rf"(?m)^proof-{topic}\s+\S", shown.stdout)
        assert f"| `{topic}` |" in table


def test_a_proof_without_its_tool_says_so(tmp_path: Path) -> None:
    """One sentence and exit status 2, and no record."""
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "git").symlink_to(git)
    ran = subprocess.run(
        [sys.executable, "-m", "proofs.strace"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "proof-strace: strace is not installed; on Debian: apt-get install strace\n"
    )
