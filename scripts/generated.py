"""Files that a script writes from the code, and that a test compares with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_or_check"]


def write_or_check(target: Path, make: Callable[[], str], description: str | None) -> None:
    """Write the text to its file; with --check on the command line compare it only.

    Raises:
        SystemExit: the file is not what the text is.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    wanted_check, text = parser.parse_args().check, make()
    if not wanted_check:
        target.write_text(text, encoding="utf-8")
    elif not target.exists() or target.read_text("utf-8") != text:
        sys.exit(f"{target} is not up to date: run python {sys.argv[0]}")
