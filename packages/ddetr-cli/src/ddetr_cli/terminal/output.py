"""How much a command says, and in what form: options that every command takes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from ddetr_cli.masking import without_passwords
from ddetr_cli.terminal.interrupts import EXIT_INTERRUPTED
from ddetr_data import shown_json
from ddetr_data.detection import RunEvent

OUTPUT_OPTIONS: Mapping[str, str] = {
    "--quiet": "Say only the result, and why a run ends.",
    "--verbose": "Also say what the packages log, and every step.",
    "--debug": "As --verbose, with other libraries' logs and the traceback of an error.",
    "--json": "Events as JSON lines on standard output, and nothing else there.",
}
_JSON = "--json"
_WITH_A_FILE = "check"  # whose --json may have a file behind it, as it always had


@dataclass(frozen=True)
class Output:
    """What was asked for."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    lines: EventLines | None = None  # in place of text


class EventLines:
    """JSON lines, one an event; the last says how the command ended.

    A line has `event`, `time` and what belongs to its kind. Kinds are those of RunEvent, `line`
    and `table` for what a person would read, and at the end `result` or `error`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._errors: list[str] = []
        self._data: dict[str, Any] = {}
        self._is_over = False

    def mute(self) -> None:
        """Leave all to the first process of a run."""
        self._is_over = True

    def observe(self, event: RunEvent) -> None:
        """Write what a run reports, every step of it."""
        self.write(
            event.kind,
            message=event.message,
            epoch=event.epoch,
            step=event.step,
            total_steps=event.total_steps,
            eta_seconds=event.eta_seconds,
            metrics=dict(event.metrics),
        )

    def write(self, event: str, **content: Any) -> None:
        """Write one line; figures that JSON cannot hold become null."""
        if self._is_over:
            return
        line = {"event": event, "time": datetime.now().isoformat(timespec="milliseconds")}
        plain = _plain({**line, **content})
        self._stream.write(shown_json(json.dumps(plain, ensure_ascii=False)) + "\n")
        self._stream.flush()

    def deliver(self, **data: Any) -> None:
        """Keep what belongs in the last line."""
        self._data |= data

    def fail(self, message: str) -> None:
        """Keep why the command ends, for the last line."""
        self._errors.append(message)

    def end(self, exit_status: int) -> None:
        """Write the last line, once."""
        if self._errors and exit_status:
            message = "\n".join(self._errors)
            self.write("error", **{**self._data, "message": message, "exit_status": exit_status})
        else:
            self.write("result", **{**self._data, "exit_status": exit_status})
        self._is_over = True


_PLAIN = Output()
_asked: list[Output] = [_PLAIN]  # the last one holds


def current_output() -> Output:
    """Give what was asked for on the command line; nothing, where a function is called."""
    return _asked[-1]


def output_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the options of this module from the other words of a command line."""
    others: list[str] = []
    options: list[str] = []
    end = words.index("--") if "--" in words else len(words)
    task = next((word for word in words if not word.startswith("-")), "")
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else "--"
        has_file = following == "-" or not following.startswith("-")
        is_own = word == _JSON and task == _WITH_A_FILE and has_file and words[:1] != [_JSON]
        if index < end and word in OUTPUT_OPTIONS and not is_own:
            options.append(word)
        else:
            others.append(word)
    return others, options


@contextmanager
def output_as(options: Sequence[str]) -> Iterator[Output]:
    """While entered, consoles say as much as the options want.

    With --json the lines alone go to standard output; whatever else writes there goes to standard
    error. The last line is written when the block is left.
    """
    lines = EventLines(sys.stdout) if _JSON in options else None
    debug = "--debug" in options
    output = Output("--quiet" in options, debug or "--verbose" in options, debug, lines)
    _asked.append(output)
    before = sys.stdout
    if lines is not None:
        sys.stdout = sys.stderr
    status = 0
    try:
        yield output
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        raise
    except BaseException as error:
        is_asked = isinstance(error, KeyboardInterrupt)
        status = EXIT_INTERRUPTED if is_asked else 1
        if lines is not None:
            lines.fail("interrupted" if is_asked else f"{type(error).__name__}: {error}")
        raise
    finally:
        sys.stdout = before
        _asked.pop()
        if lines is not None:
            lines.end(status)


def _plain(value: Any) -> Any:
    """Give what JSON can hold; passwords in URLs are starred out."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return without_passwords(str(value))
