"""The log of a run: what the packages log during a run, and the traceback of what ended it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

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


class _LogFile(logging.FileHandler):
    """A log file that is given up at its first fault."""

    def __init__(self, path: Path, notice: Callable[[str], None]) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.fault: OSError | None = None
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        if self.fault is None:
            try:
                super().emit(record)
            except OSError as error:  # the file cannot be opened
                self._give_up(error)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._give_up(error)
        else:
            super().handleError(record)

    def _give_up(self, error: OSError) -> None:
        self.fault = error
        with suppress(OSError):  # of status.json on the same disk, which is told by itself
            self._notice(f"{self.baseFilename} cannot be written: {error.strerror or error}")

    def close(self) -> None:
        with suppress(OSError):  # of what a full disk did not take
            super().close()


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
