"""The log of a run: what the packages log during a run, and the traceback of what ended it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_PACKAGES = ("ddetr_ops", "ddetr_data", "ddetr_model", "ddetr_train", "ddetr_export", "ddetr_cli")
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

logger = logging.getLogger(__name__)


class Journal:
    """While entered, our packages' log goes to the file, their warnings to `notice` too.

    The file appears with its first line. A secret is starred out, wherever it stands.
    """

    def __init__(self, path: Path, notice: Callable[[str], None], secret: str | None) -> None:
        self.path = path
        to_file = logging.FileHandler(self.path, encoding="utf-8", delay=True)
        to_file.setFormatter(_Masking(_FORMAT, secret))
        to_person = _Notices(notice)
        to_person.setFormatter(_Masking("%(message)s", secret))
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
        self._handlers[0].close()

    def keep_traceback(self, error: BaseException) -> None:
        """Write the whole traceback of an error into the file."""
        logger.info("the run ended with a fault", exc_info=error)


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
