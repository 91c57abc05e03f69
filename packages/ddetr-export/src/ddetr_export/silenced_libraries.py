"""Keeping what other libraries print and log off the console."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def hushed(levels: Mapping[str, int]) -> Iterator[io.StringIO]:
    """Set the levels of these loggers and hold back standard output; yields what was printed."""
    before = {name: logging.getLogger(name).level for name in levels}
    words = io.StringIO()
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        with contextlib.redirect_stdout(words):
            yield words
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
