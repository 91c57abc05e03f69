"""Keep the console to the observers: what a user should know travels as a RunEvent."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from typing_extensions import override

from ddetr_train.events import Observer, RunEvent, emit

_LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning_utilities")
_SIBLINGS = ("ddetr_data", "ddetr_model")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banners, hints and advertisements inside the block, errors aside."""
    loggers = [logging.getLogger(name) for name in _LIGHTNING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def logs_as_notices(observers: Sequence[Observer]) -> Iterator[None]:
    """Hand the warnings of our own packages to the observers inside the block."""
    handler = _NoticeHandler(observers)
    loggers = [logging.getLogger(name) for name in _SIBLINGS] if observers else []
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _NoticeHandler(logging.Handler):
    """Emits each record as a notice."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__(logging.WARNING)
        self._observers = observers

    @override
    def emit(self, record: logging.LogRecord) -> None:
        emit(self._observers, RunEvent("notice", record.getMessage()))
