"""How a run ended: the state for status.json, the exit status, and one sentence for the person."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ddetr_cli.running.extras import in_our_name
from ddetr_cli.terminal import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from ddetr_cli.terminal import Interrupted, State

EXIT_SUCCESS, EXIT_FAILURE, EXIT_BAD_INPUT = 0, 1, 2
_OUR_PACKAGES = "ddetr_"
_PATH_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_PATH_ERRNOS = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_ADVICE: Mapping[tuple[int, ...], str] = {
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP): "mend the path",
    (errno.EACCES, errno.EPERM, errno.EROFS): "give another, or ask whose it is for the right",
    (errno.EISDIR,): "give a file",
    (errno.EEXIST,): "give another name",
    (errno.ENAMETOOLONG,): "give a shorter name",
    _FULL_ERRNOS: "make room, or give another disk",
}
_MENDED_ERRNOS = (*_PATH_ERRNOS, *_FULL_ERRNOS, *_TOO_MANY_FILES)


class InputError(ValueError):
    """What a caller can mend, in the sentence that the command ends with; its exit status is 2."""


@dataclass(frozen=True)
class Ending:
    """The last line of a run, and for a caller in Python what it came to."""

    state: State
    exit_status: int
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)
    result: Any = None
    folder: Path | None = None  # of results
    error: BaseException | None = None

    def raise_error(self) -> NoReturn:
        """Raise what ended the run, as a caller in Python wants it.

        Raises:
            InputError: wrong input.
            KeyboardInterrupt: it was interrupted; the text says what was kept.
            BaseException: a fault of the program, as it came.
        """
        if self.state == "INTERRUPTED":
            raise KeyboardInterrupt(self.message) from self.error
        if self.exit_status == EXIT_BAD_INPUT or self.error is None:
            raise InputError(self.message) from self.error
        raise self.error


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise a caller's mistake as an InputError with the sentence of the command line.

    Raises:
        InputError: wrong input; whatever else is raised inside goes on up.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, OSError) as error:
        if not is_callers_mistake(error):
            raise
        raise InputError(sentence(error)) from error


def ending_of(error: BaseException, task: str, *, interrupted: bool) -> Ending:
    """Judge what ended a run.

    `interrupted` tells that a signal came; then the error counts for nothing, since a library may
    have turned the KeyboardInterrupt into an error of its own.
    """
    if isinstance(error, Interrupted):
        text = f"{task} was interrupted: {error}"
        return Ending("INTERRUPTED", EXIT_INTERRUPTED, text, error=error)
    if interrupted or isinstance(error, KeyboardInterrupt):
        text = f"{task} was interrupted"
        return Ending("INTERRUPTED", EXIT_INTERRUPTED, text, error=error)
    if is_callers_mistake(error):
        return refusal_of(error)
    first_line = (sentence(error).splitlines() or [""])[0]
    what = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    return Ending("FAILURE", EXIT_FAILURE, f"{task} failed: {what}", error=error)


def refusal_of(error: BaseException) -> Ending:
    """Give the ending of a run whose input is wrong."""
    return Ending("FAILURE", EXIT_BAD_INPUT, sentence(error), error=error)


def is_callers_mistake(error: BaseException) -> bool:
    """Tell a wrong input from a fault of the program.

    Our packages raise ValueError for what a caller can mend; the same error out of another
    library's depths is a fault. A wrong path is a mistake wherever it was opened, and a full disk
    is mended by whoever has filled it, a low limit of open files by whoever has set it.
    """
    if isinstance(error, _PATH_ERRORS):
        return True
    if isinstance(error, OSError) and error.errno in _MENDED_ERRNOS:
        return True
    if isinstance(error, OSError) and error.errno is None:  # a sentence, where it is ours
        return _raised_by_us(error)
    if not isinstance(error, ValueError):
        return False
    return type(error).__module__.startswith(_OUR_PACKAGES) or _raised_by_us(error)


def sentence(error: BaseException) -> str:
    """Say what an error says, without errno and without a worker's traceback around it.

    A part that is not installed is asked for as an extra of ddetr-cli: one thing to install.
    """
    if isinstance(error, OSError) and error.errno in _TOO_MANY_FILES:
        name = "" if error.filename is None else f"{error.filename}: "
        return f"{name}too many open files: raise the limit with `ulimit -n`"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}{_advice(error)}"
    text = str(in_our_name(error)).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2] or text
    return text


def _advice(error: OSError) -> str:
    """Say what to do about what the system says of a path."""
    for kinds, advice in _ADVICE.items():
        if error.errno in kinds:
            return f"; {advice}"
    return ""


def _raised_by_us(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith(_OUR_PACKAGES)
