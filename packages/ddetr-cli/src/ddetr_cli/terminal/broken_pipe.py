"""Standard output and error that may go away without taking a run along."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class LastingStream:
    """A text stream whose first failure is remembered; from then on it swallows what is written.

    `ddetr train ... | head` reads two lines and leaves; the training goes on and ends as it would.
    Signs that the stream's encoding does not have are written as escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or say that it was written."""
        try:
            return self._stream.write(self._encodable(text))
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _encodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def _give_up(self, error: OSError) -> None:
        self.fault = self.fault or error
        with suppress(OSError, ValueError):  # what the stream still holds goes nowhere either
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_output() -> Iterator[None]:
    """While entered, sys.stdout and sys.stderr last; closed ones are as good as /dev/null.

    Raises:
        SystemExit: the work ended well, but its words did not reach a full disk: status 1.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # A process that was started with closed streams has None here.
        out, err = (LastingStream(stream or nowhere) for stream in before)
        sys.stdout, sys.stderr = out, err
        try:
            yield
        except SystemExit as ended:
            out.flush()
            if out.fault is None or out.fault.errno == errno.EPIPE or ended.code:
                raise
            err.write(f"ddetr: standard output cannot be written: {out.fault.strerror}\n")
            raise SystemExit(1) from None
        finally:
            sys.stdout, sys.stderr = before
