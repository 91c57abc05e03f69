"""What a person sees of a run: a bar on a terminal, plain lines elsewhere, tables at the end.

rich is loaded for bars and tables alone, so that a wrong spec is answered without it.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import typer

from ddetr_cli.masking import without_passwords
from ddetr_cli.terminal._epoch_table import EpochTable
from ddetr_cli.terminal._step_text import activity, bar_figures, bar_on, line_of
from ddetr_cli.terminal.output import current_output
from ddetr_cli.terminal.status_file import duration
from ddetr_data import shown_text
from ddetr_data.detection import RunEvent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_FIGURE = re.compile(r"[-+.\de]*")
_PLAIN_WIDTH = 160
_WIDTH_OF_A_SCORE = 8
_SECONDS_BETWEEN_PLAIN_LINES = 30.0
Rows: TypeAlias = Sequence[tuple[str, ...]]


class RunConsole:
    """Shows the events of one subtask on standard output, notices and faults on standard error."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        tells_faults: bool = True,
        screen: Console | None = None,
        errors: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show what the command line asks for, or in quiet only why a run ends.

        Args:
            quiet: for a process that is not the first of its run.
            tells_faults: say why a run ends; not where an exception will.
            screen: in place of standard output.
            errors: in place of standard error.
            clock: seconds that only go up, to tell how long is left.
        """
        self._quiet = quiet
        self._tells_faults = tells_faults
        self._output = current_output()
        self._lines = self._output.lines
        if quiet and self._lines is not None:
            self._lines.mute()
        self._screen = screen
        self._errors = errors
        self._clock = clock
        self._progress: Progress | None = None
        self._said: set[str] = set()
        self._last_plain_line = 0.0
        self._work = ""
        self._work_began = self._clock()

    @cached_property
    def out(self) -> Console:
        """Standard output for bars and tables; off a terminal wide enough for paths."""
        if self._screen is not None:
            return self._screen
        from rich.console import Console

        wide = None if sys.stdout.isatty() else _PLAIN_WIDTH
        return Console(quiet=self._quiet, width=wide, highlight=False)

    @cached_property
    def _epochs(self) -> EpochTable:
        return EpochTable(self.out.width)

    def observe(self, event: RunEvent) -> None:
        """Show what a run reports."""
        if self._lines is not None and event.kind not in ("notice", "waiting"):
            self._lines.observe(event)
            return
        if event.kind == "started":
            self._work, self._work_began = event.message, self._clock()
        if event.kind == "step":
            self._show_step(self._completed(event))
        elif event.kind == "notice":
            self.notice(event.message, is_warning=event.is_warning)
        elif event.kind == "waiting":
            self.notice(event.message, always=True)
        elif event.is_routine and not self._output.verbose:
            return  # status.json has it
        elif event.kind == "epoch":
            for line in self._epochs.lines(event) if self.out.is_terminal else [line_of(event)]:
                self.tell(line)
        elif event.message and event.kind != "finished":
            self.tell(event.message)

    def say(self, text: str) -> None:
        """Write one line of the result."""
        if self._lines is not None:
            self._lines.write("line", message=text)
        elif not self._quiet:
            self._write(_shown(text))

    def tell(self, text: str) -> None:
        """Write one line on the way to the result, which --quiet leaves out."""
        if not self._output.quiet:
            self.say(text)

    def document(self, text: str, **data: Any) -> None:
        """Write a whole text as it is; as JSON lines the data stand in the last one."""
        if self._lines is not None:
            self._lines.deliver(**(data or {"text": text}))
        else:
            typer.echo(text, nl=not text.endswith("\n"))

    def deliver(self, **data: Any) -> None:
        """Add to the last of the JSON lines; text has said it in its own way."""
        if self._lines is not None:
            self._lines.deliver(**data)

    def end(self, exit_status: int) -> None:
        """Write the last of the JSON lines, where the process ends before its command does."""
        if self._lines is not None:
            self._lines.end(exit_status)

    def notice(self, text: str, *, always: bool = False, is_warning: bool = False) -> None:
        """Write a notice, once however often it is said; in quiet only what is `always` said."""
        is_quiet = self._quiet or self._output.quiet
        if text in self._said or (is_quiet and not always):
            return
        self._said.add(text)
        word = "warning" if is_warning else "notice"
        if self._lines is not None:
            self._lines.write("waiting" if always else word, message=text)
        else:
            self._write(_label(f"{word}: ", "yellow") + _shown(text), err=True)

    def fail(self, text: str) -> None:
        """Write why a run ends, on standard error whatever the form of the rest."""
        if not self._tells_faults:
            return
        if self._lines is not None:
            self._lines.fail(text)
        self._write(_label("ddetr: ", "red") + _shown(text, keep_lines=True), err=True)

    def fail_plainly(self, text: str) -> None:
        """Write what is wrong with a command line, which its usage stands above."""
        if self._lines is not None:
            self._lines.fail(text.removeprefix("Error: "))
        self._write(text, err=True)

    def log(self, text: str) -> None:
        """Write a line of a log."""
        self._write(_shown(text, keep_lines=True), err=True)

    def show_cause(self, error: BaseException) -> None:
        """With --debug, write the traceback of an error that has its sentence already."""
        if self._output.debug:
            self.show_traceback("".join(traceback.format_exception(error)).rstrip())

    def show_traceback(self, text: str) -> None:
        """Write where a fault of the program came from, as Python would."""
        if self._tells_faults:
            self._write(_shown(text, keep_lines=True), err=True)

    def table(
        self, title: str, columns: Sequence[str], rows: Rows, *, unbroken: Sequence[str] = ()
    ) -> None:
        """Write a table; figures stand to the right of their column, text to the left.

        Args:
            unbroken: columns whose cells are never cut into lines.
        """
        if self._lines is not None:
            self._lines.write("table", title=title, columns=list(columns), rows=list(rows))
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = min(len(title), self.out.width)  # else the title breaks at a narrow table's edge
        table = Table(
            title=Text(_shown(title)), box=box.SIMPLE, title_justify="left", min_width=wide
        )
        for index, column in enumerate(columns):
            is_figures = all(_FIGURE.fullmatch(row[index]) for row in rows)
            heading = Text(_shown(column))
            table.add_column(
                heading,
                justify="right" if is_figures else "left",
                overflow="fold",
                no_wrap=column in unbroken,
            )
        for row in rows:
            table.add_row(*(Text(_shown(cell)) for cell in row))
        self.out.print(table)

    def scores(
        self, overall: Mapping[str, float], per_class: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Write the twelve COCO figures and a line for each class."""
        cells = {name: figure(value) for name, value in overall.items()}
        if self.out.width < _WIDTH_OF_A_SCORE * len(cells):  # a narrow terminal has them in lines
            self.table("COCO scores", ["figure", "value"], list(cells.items()))
        else:
            self.table("COCO scores", list(cells), [tuple(cells.values())])
        if per_class:
            names = list(next(iter(per_class.values())))
            rows = [(name, *(figure(of[key]) for key in names)) for name, of in per_class.items()]
            self.table("Per class", ["class", *names], rows)

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _write(self, text: str, *, err: bool = False) -> None:
        if self._progress is None:
            typer.echo(text, self._errors if err else None, err=err)
        else:
            from rich.text import Text

            self._progress.console.print(Text.from_ansi(text))  # above the bar

    def _completed(self, event: RunEvent) -> RunEvent:
        """Say what is being done, and for how long still, where the event leaves that out."""
        if event.epoch is not None:
            return event
        left = event.eta_seconds
        if left is None and event.step and event.total_steps:
            spent = self._clock() - self._work_began
            left = spent / event.step * (event.total_steps - event.step)
        return replace(event, message=event.message or self._work, eta_seconds=left)

    def _show_step(self, event: RunEvent) -> None:
        self._epochs.note_step(event)
        if self._output.quiet:
            return
        if self.out.is_terminal:
            self._move_bar(event)
        elif (
            self._output.verbose
            or self._clock() - self._last_plain_line > _SECONDS_BETWEEN_PLAIN_LINES
        ):
            self._last_plain_line = self._clock()
            self.tell(line_of(event))

    def _move_bar(self, event: RunEvent) -> None:
        if self._progress is None:
            self._progress = bar_on(self.out)
            self._progress.start()
        self._progress.update(
            self._progress.task_ids[0],
            description=_shown(activity(event)),
            total=event.total_steps,
            completed=event.step,
            figures=bar_figures(event),
            eta="" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left",
        )


def figure(value: float | None, decimals: int = 3) -> str:
    """Write a score; a class without ground truth has none: null, NaN or -1."""
    return "-" if value is None or value != value or value < 0 else f"{value:.{decimals}f}"


def _shown(text: str, *, keep_lines: bool = False) -> str:
    """Write what comes from outside: nothing acts on the terminal, no password is seen."""
    return shown_text(without_passwords(text), keep_lines=keep_lines)


def _label(text: str, color: str) -> str:
    """Colour a line's first word, unless the person asked for none or has a plain terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, fg=color, bold=True)
