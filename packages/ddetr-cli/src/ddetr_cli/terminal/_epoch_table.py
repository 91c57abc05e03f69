"""The table of a training's epochs on a terminal, a row when an epoch ends."""

from __future__ import annotations

from collections.abc import Mapping

from ddetr_cli.terminal.status_file import duration
from ddetr_data.detection import RunEvent

# Heading and the figure below it; what the last step reported stands in for the epoch's own.
_COLUMNS = {
    "train loss": "train_loss",
    "val loss": "val_loss",
    "AP": "val_AP",
    "AP50": "val_AP50",
    "lr": "lr_base",
    "peak GiB": "peak_memory_gib",
}
_WIDTH = 11
_FIRST_WIDTH = 5
# What a narrow terminal goes without, first.
_LEAST_WANTED = ("peak GiB", "lr", "val loss", "AP50", "AP")


class EpochTable:
    """Makes the lines; the figures of a validation that an epoch did not have stay empty.

    Columns that a terminal of this width has no room for are left out.
    """

    def __init__(self, width: int = 120) -> None:
        room = (width - _FIRST_WIDTH) // _WIDTH - 1  # one column is the time left
        surplus = max(len(_COLUMNS) - room, 0)
        self._columns = {
            name: key for name, key in _COLUMNS.items() if name not in _LEAST_WANTED[:surplus]
        }
        self._of_step: Mapping[str, float] = {}
        self._has_heading = False

    def note_step(self, event: RunEvent) -> None:
        """Remember the rate and the memory of the last step."""
        self._of_step = event.metrics

    def lines(self, event: RunEvent) -> list[str]:
        """Give an epoch's row, before the first one the headings."""
        figures = {**self._of_step, **event.metrics}
        cells = [
            f"{figures[name]:.4g}" if name in figures else "" for name in self._columns.values()
        ]
        left = "" if event.eta_seconds is None else duration(event.eta_seconds)
        rows = [] if self._has_heading else [_row(["epoch", *self._columns, "left"])]
        self._has_heading = True
        return [*rows, _row([str(event.epoch), *cells, left])]


def _row(cells: list[str]) -> str:
    first, *others = cells
    return f"{first:>{_FIRST_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in others)
