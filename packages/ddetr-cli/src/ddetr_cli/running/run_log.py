"""The log of a run: what the packages log during a run, and the traceback of what ended it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

_PACKAGES = ("ddetr_ops", "ddetr_data", "ddetr_model", "ddetr_train", "ddetr_export", "ddetr_cli")
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

logger = logging.getLogger(__name__)


class Journal:
    """While entered, our packages' log goes to the file, their warnings to `notice` too.

    The file appears with its first line. A secret is starred out, wherever it stands. A file that
    cannot be written, on a full disk for instance, is said once, and the run goes on without it.
    """

    def __init__(self, path: Path, notice: Callable[[str], None], secret: str | None) -> None:
        self.path = path
        to_file = _LogFile(path, notice)
        to_file.setFormatter(_Masking(_FORMAT, secret))
        to_person = _Notices(notice)
        to_person.setFormatter(_Masking("%(message)s", secret))
        self._file = to_file
        self._handlers = (to_file, to_person)
        self._levels: dict[str, int] = {}

    def __enter__(self) -> Journal:
        for name in _PACKAGES:
            package = logging.getLogger(name)
            self._levels[name] = package.level
            package.setLevel(logging.INFO)
            for handler in self._handlers:
                package.addHandler(handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, level in self._levels.items():
            package = logging.getLogger(name)
            package.setLevel(level)
            for handler in self._handlers:
                package.removeHandler(handler)
        self._file.close()

    def keep_traceback(self, error: BaseException) -> str:
        """Write the whole traceback of an error into the file; says where it is."""
        logger.info("the run ended with a fault", exc_info=error)
        if self._file.fault is not None:
            return "the traceback could not be kept"
        return f"the traceback is in {self.path}"


class _LogFile(logging.Handler):
    """A log file that is given up at its first fault."""

    def __init__(self, path: Path, notice: Callable[[str], None]) -> None:
        super().__init__()
        self.fault: OSError | None = None
        self._path = path
        self._notice = notice
        self._file: TextIO | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.fault is not None:
            return
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
            self._file.write(f"{self.format(record)}\n")
            self._file.flush()
        except OSError as error:
            self.fault = error
            with suppress(OSError):  # of status.json on the same disk, which is told by itself
                self._notice(f"{self._path} cannot be written: {error.strerror or error}")

    def close(self) -> None:
        super().close()
        with suppress(OSError):  # of what a full disk did not take
            if self._file is not None:
                self._file.close()


class _Notices(logging.Handler):
    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        self._notice(self.format(record))


class _Masking(logging.Formatter):
    def __init__(self, layout: str, secret: str | None) -> None:
        super().__init__(layout)
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.replace(self._secret, "***") if self._secret else text
