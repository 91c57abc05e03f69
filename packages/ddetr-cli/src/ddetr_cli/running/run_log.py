"""The log of a run: what the packages log during a run, and the traceback of what ended it."""

from __future__ import annotations

import logging
import traceback as tracebacks
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import TextIO

from ddetr_cli.masking import masked
from ddetr_cli.running.extras import in_our_name
from ddetr_cli.terminal import RunConsole, current_output
from ddetr_data import shown_text

_PACKAGES = ("ddetr_ops", "ddetr_data", "ddetr_model", "ddetr_train", "ddetr_export", "ddetr_cli")
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

logger = logging.getLogger(__name__)


class RunLog:
    """While entered, our packages' log goes to the file, their warnings to `notice` too.

    Lines are kept in mind until the log is opened; the file appears with its first line. A secret
    is starred out, wherever it stands. A file that cannot be written, on a full disk for instance,
    is said once, and the run goes on without it.
    """

    def __init__(self, notice: Callable[[str], None], secret: str | None) -> None:
        self._file = _LogFile(notice)
        self._file.setFormatter(_Masking(_FORMAT, secret))
        to_person = _Notices(notice)
        to_person.setFormatter(_Masking("%(message)s", secret))
        self._secret = secret
        self._handlers = (self._file, to_person)
        self._levels: dict[str, int] = {}

    def __enter__(self) -> RunLog:
        for name in _PACKAGES:
            package = logging.getLogger(name)
            self._levels[name] = package.level
            package.setLevel(logging.INFO)
            for handler in self._handlers:
                package.addHandler(handler)
        return self

    def __exit__(self, *_: object) -> None:
        for name, level in self._levels.items():
            package = logging.getLogger(name)
            package.setLevel(level)
            for handler in self._handlers:
                package.removeHandler(handler)
        self._file.close()

    def open(self, path: Path) -> None:
        """Write to the file from here on, what was logged before first."""
        self._file.open(path)

    def keep_traceback(self, error: BaseException) -> str:
        """Write the whole traceback of an error into the open file; says where it is."""
        logger.info("the run ended with a fault", exc_info=error)
        if self._file.fault is not None:
            return "the traceback could not be kept"
        return f"the traceback is in {self._file.path}"

    def traceback_of(self, error: BaseException) -> str:
        """Give the whole traceback of an error, for a run that has no file."""
        return masked("".join(tracebacks.format_exception(error)).rstrip(), [self._secret])


@contextmanager
def screen_log(console: RunConsole, secret: str | None) -> Iterator[None]:
    """While entered, logs go to the screen too where that was asked for.

    --verbose shows our packages' from INFO on, --debug everybody's.
    """
    output = current_output()
    if not output.verbose:
        yield
        return
    handler = _Screen(console)
    handler.setFormatter(_Masking("%(levelname)s %(name)s %(message)s", secret))
    names = [""] if output.debug else list(_PACKAGES)
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG if output.debug else logging.INFO)
        each.addHandler(handler)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
            each.removeHandler(handler)


class _Screen(logging.Handler):
    def __init__(self, console: RunConsole) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.log(self.format(record))


class _LogFile(logging.Handler):
    """A log file that is given up at its first fault."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__()
        self.path: Path | None = None
        self.fault: OSError | None = None
        self._notice = notice
        self._waiting: list[str] = []
        self._file: TextIO | None = None

    def open(self, path: Path) -> None:
        self.path = path
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self._write(line)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if self.path is None:
            self._waiting.append(line)
        else:
            self._write(line)

    def close(self) -> None:
        super().close()
        with suppress(OSError):  # of what a full disk did not take
            if self._file is not None:
                self._file.close()

    def _write(self, line: str) -> None:
        if self.fault is not None or self.path is None:
            return
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace")
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            self.fault = error
            with suppress(OSError):  # of status.json on the same disk, which is told by itself
                self._notice(f"{self.path} cannot be written: {error.strerror or error}")


class _Notices(logging.Handler):
    """Hands warnings to a person, who installs extras of ddetr-cli and no other's."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple):
            record = copy(record)
            record.args = tuple(map(in_our_name, record.args or ()))
        self._notice(self.format(record))


class _Masking(logging.Formatter):
    def __init__(self, layout: str, secret: str | None) -> None:
        super().__init__(layout)
        self._secret = secret

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return shown_text(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return shown_text(masked(super().format(record), [self._secret]), keep_lines=True)
