"""One step of a run as a line of text, and as a bar on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddetr_cli.terminal.status_file import duration
from ddetr_data.detection import RunEvent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# What a line has room for, of the figures that training reports.
_SHOWN = (
    "step_loss",
    "train_loss",
    "val_loss",
    "val_AP",
    "val_AP50",
    "gradient_norm",
    "peak_memory_gib",
)


def bar_on(console: Console) -> Progress:
    """Make a bar that is not shown yet."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    def text(name: str) -> TextColumn:  # a file name in brackets is no markup
        return TextColumn(f"{{task.{name}}}", markup=False)

    figures, eta = text("fields[figures]"), text("fields[eta]")
    columns = (text("description"), BarColumn(), MofNCompleteColumn(), figures, eta)
    progress = Progress(*columns, console=console, transient=True)
    progress.add_task("", figures="", eta="")
    return progress


def bar_figures(event: RunEvent) -> str:
    """Write what a bar has room for."""
    shown = {"step_loss": "loss {:.3g}", "images_per_second": "{:.1f} images/s"}
    shown["peak_memory_gib"] = "{:.1f} GiB"
    return "  ".join(
        text.format(event.metrics[name]) for name, text in shown.items() if name in event.metrics
    )


def line_of(event: RunEvent) -> str:
    """Write a step or an epoch with its figures and the time left."""
    total = "" if event.total_steps is None else f"/{event.total_steps}"
    steps = f"{event.step}{total}" if event.kind == "step" else ""
    figures = [f"{name} {event.metrics[name]:.4g}" for name in _SHOWN if name in event.metrics]
    left = "" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left"
    return "  ".join(part for part in (activity(event), steps, *figures, left) if part)


def activity(event: RunEvent) -> str:
    """Name what is being done."""
    return event.message if event.epoch is None else f"epoch {event.epoch}"
