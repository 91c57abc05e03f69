"""The page of `ddetr serve` and the reports in a real browser, over and over.

    python -m proofs.browsers [--slice]

The tests are those of packages/ddetr-export/tests/test_page.py, a fresh server each, and of
tests/test_report_page.py. A page that answers late, or a browser that starts slowly, fails them
once in many times; the slice runs them once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from tempfile import TemporaryDirectory

from proofs.record import ROOT, MissingToolError, Proof, run_proof

TESTS = ("packages/ddetr-export/tests/test_page.py", "tests/test_report_page.py")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REPEATS = 10


def prove(proof: Proof) -> None:
    """Run the tests of the pages."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise MissingToolError("Chromium is not installed; on Debian: apt-get install chromium")
    repeats = 1 if proof.is_slice else REPEATS
    proof.tried += [f"{tests}, {repeats} times" for tests in TESTS]
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    proof.figures["browser"] = version.stdout.strip()
    with TemporaryDirectory(prefix="ddetr-browsers-") as name:
        for _ in range(repeats):
            run_tests(proof, Path(name) / "report.xml")


def run_tests(proof: Proof, report: Path) -> None:
    """Run them once and count each."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, capture_output=True, check=False)
    for case in ElementTree.parse(report).iter("testcase"):
        problem = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        name = case.get("name", "")
        if problem is None:
            proof.passed(name)
        else:
            proof.failed(name, f"{problem.tag}: {problem.get('message', '')[:300]}")


if __name__ == "__main__":
    run_proof("browsers", "The page of `ddetr serve` and the reports in a real browser.", prove)
