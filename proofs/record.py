"""The record of a proof: what was tried, on what, and what failed."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

__all__ = ["ROOT", "Known", "MissingToolError", "Proof", "run_proof"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "proofs" / "results"
EXIT_PROVEN, EXIT_FAILED, EXIT_CANNOT_RUN = 0, 1, 2
MOST_EXAMPLES = 5  # of one failure or known fault in the record; the counts are whole


class MissingToolError(Exception):
    """The machine lacks what the proof needs; the text says what."""


@dataclass(frozen=True)
class Known:
    """A fault that a proof meets and that is not mended yet."""

    fault: str  # what happens, in one sentence
    where: str  # a regular expression that the cases' names hold
    text: str  # a part of what is reported


@dataclass
class Proof:
    """What one run of a proof tries and finds."""

    topic: str
    is_slice: bool
    only: str = ""  # the one case to run again
    known: Sequence[Known] = ()
    commit: str = ""  # as it was at the start
    tried: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    known_seen: dict[str, Counter[str]] = field(default_factory=dict)

    def passed(self, what: str, number: int = 1) -> None:
        """Count cases that came out as they should."""
        self.counts[what] += number

    def failed(self, case: str, reason: str) -> None:
        """Keep a case that did not, unless its fault is known."""
        for known in self.known:
            if re.search(known.where, case) and known.text in reason:
                self.known_seen.setdefault(known.fault, Counter())[case] += 1
                return
        sys.stderr.write(f"{self.topic}: {case}: {reason}\n")
        self.failures.setdefault(reason, []).append(case)

    def require(self, holds: bool, case: str, reason: str) -> None:
        """Count the case as passed or failed."""
        if holds:
            self.passed(case)
        else:
            self.failed(case, reason)

    def as_dict(self, started: float) -> dict[str, Any]:
        """Give the record as it is written."""
        return {
            "topic": self.topic,
            "slice": self.is_slice,
            "commit": self.commit,
            "machine": describe_machine("ddetr-cli"),
            "seconds": round(time.monotonic() - started),
            "tried": self.tried,
            "counts": dict(sorted(self.counts.items())),
            "figures": self.figures,
            "known": {fault: _summary(cases) for fault, cases in self.known_seen.items()},
            "failures": {
                reason: _summary(Counter(cases)) for reason, cases in self.failures.items()
            },
        }


def run_proof(
    topic: str, what: str, prove: Callable[[Proof], None], known: Sequence[Known] = ()
) -> None:
    """Run a proof from its command line, write its record and exit with 0, 1 or 2.

    The record of the whole proof goes to proofs/results; that of a slice, or of one case, is only
    shown.
    """
    parser = argparse.ArgumentParser(prog=f"python -m proofs.{topic}", description=what)
    parser.add_argument("--slice", action="store_true", help="at most 20 seconds of it")
    parser.add_argument("--only", default="", metavar="CASE", help="one case of the record again")
    options = parser.parse_args()
    os.chdir(ROOT)
    started = time.monotonic()
    proof = Proof(topic, options.slice, options.only, known, _commit())
    try:
        prove(proof)
    except MissingToolError as error:
        sys.stderr.write(f"proof-{topic}: {error}\n")
        sys.exit(EXIT_CANNOT_RUN)
    record = json.dumps(proof.as_dict(started), indent=1, ensure_ascii=False) + "\n"
    sys.stdout.write(record)
    if not options.slice and not options.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{topic}.json").write_text(record, "utf-8")
    sys.exit(EXIT_FAILED if proof.failures else EXIT_PROVEN)


def _summary(cases: Counter[str]) -> dict[str, Any]:
    return {"count": cases.total(), "examples": sorted(cases)[:MOST_EXAMPLES]}


def _commit() -> str:
    """Name the commit; a "+" says that the tree differs from it, records aside."""
    short = _git("rev-parse", "--short", "HEAD").stdout.strip()
    same = _git("diff", "--quiet", "HEAD", "--", ".", ":!proofs/results").returncode == 0
    return short if same else f"{short}+"


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
