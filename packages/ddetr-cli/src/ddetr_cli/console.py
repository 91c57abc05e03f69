"""What a person sees of a run: a bar on a terminal, plain lines elsewhere, tables at the end."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from ddetr_cli.status import duration
from ddetr_train.events import RunEvent

_FIGURE = re.compile(r"[-+.\de]*")
_PLAIN_WIDTH = 160
_SECONDS_BETWEEN_PLAIN_LINES = 30.0
# What a line has room for, of the figures that training reports.
_SHOWN = ("step_loss", "train_loss", "val_loss", "val_AP", "val_AP50", "gradient_norm")

Rows: TypeAlias = Sequence[tuple[str, ...]]


class RunConsole:
    """Shows the events of one subtask on standard output, notices and faults on standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        wide = None if sys.stdout.isatty() else _PLAIN_WIDTH
        self.out = Console(quiet=quiet, width=wide, highlight=False, soft_wrap=wide is not None)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._said: set[str] = set()
        self._last_plain_line = 0.0

    def observe(self, event: RunEvent) -> None:
        """Show what a run reports."""
        if event.kind == "step":
            self._show_step(event)
        elif event.kind == "notice":
            self.notice(event.message)
        elif event.kind == "epoch":
            self.say(_line(event))
        elif event.message and event.kind != "finished":
            self.say(event.message)

    def say(self, text: str) -> None:
        """Write one line."""
        self.out.print(escape(text))

    def notice(self, text: str) -> None:
        """Write a notice, once however often it is said."""
        if text not in self._said and not self._quiet:
            self._said.add(text)
            self.err.print(f"[yellow]notice:[/] {escape(text)}")

    def fail(self, text: str) -> None:
        """Write why a run ends."""
        self.err.print(f"[bold red]ddetr:[/] {escape(text)}")

    def table(self, title: str, columns: Sequence[str], rows: Rows) -> None:
        """Write a table; figures stand to the right of their column, text to the left."""
        table = Table(title=escape(title), box=box.SIMPLE, title_justify="left")
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            side: JustifyMethod = "right" if all(map(_FIGURE.fullmatch, cells)) else "left"
            table.add_column(column, justify=side, overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        self.out.print(table)

    def scores(
        self, overall: Mapping[str, float], per_class: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Write the twelve COCO figures and a line for each class."""
        self.table("COCO scores", list(overall), [tuple(map(figure, overall.values()))])
        names = list(next(iter(per_class.values()), {}))
        rows = [(name, *(figure(value[key]) for key in names)) for name, value in per_class.items()]
        if rows:
            self.table("Per class", ["class", *names], rows)

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show_step(self, event: RunEvent) -> None:
        if self.out.is_terminal:
            self._move_bar(event)
        elif time.monotonic() - self._last_plain_line > _SECONDS_BETWEEN_PLAIN_LINES:
            self._last_plain_line = time.monotonic()
            self.say(_line(event))

    def _move_bar(self, event: RunEvent) -> None:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[eta]}"),
                console=self.out,
                transient=True,
            )
            self._bar = self._progress.add_task("", total=event.total_steps, eta="")
            self._progress.start()
        self._progress.update(
            self._bar,
            description=_activity(event),
            total=event.total_steps,
            completed=event.step,
            eta="" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left",
        )


def figure(value: float) -> str:
    """Write a score with three decimals; a class without ground truth has none."""
    return "-" if value != value or value < 0 else f"{value:.3f}"


def _line(event: RunEvent) -> str:
    steps = f"{event.step}/{event.total_steps}" if event.kind == "step" else ""
    figures = [f"{name} {event.metrics[name]:.4g}" for name in _SHOWN if name in event.metrics]
    left = "" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left"
    return "  ".join(part for part in (_activity(event), steps, *figures, left) if part)


def _activity(event: RunEvent) -> str:
    return event.message if event.epoch is None else f"epoch {event.epoch}"
