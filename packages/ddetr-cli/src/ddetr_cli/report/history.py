"""Reading the figures of each epoch from status.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

History = dict[str, dict[int, float]]  # figure -> epoch -> value


def read_history(status_file: Path) -> History:
    """Collect the figures of every epoch; an epoch that was trained twice counts as it was last.

    A start that trains an epoch again trains those after it again too, so what earlier starts said
    of them is left out. A line that a full disk cut short is passed over.
    """
    history: History = {}
    begins = False
    for entry in _entries(status_file):
        begins = begins or entry["status"] == "STARTED"
        if entry["status"] == "RUNNING" and entry["epoch"] is not None and entry["kpi"]:
            if begins:
                begins = False
                _forget_from(entry["epoch"], history)
            for name, value in entry["kpi"].items():
                if value is not None:
                    history.setdefault(name, {})[entry["epoch"]] = value
    return history


def read_warnings(status_file: Path) -> list[tuple[int | None, str]]:
    """Give epoch and text of each warning of a run, once however often it was started."""
    found: dict[str, int | None] = {}
    for entry in _entries(status_file):
        if entry.get("verbosity") == "WARNING":
            found.setdefault(entry["message"], entry["epoch"])
    return [(epoch, text) for text, epoch in found.items()]


@dataclass(frozen=True)
class Start:
    """One of the times that a run was started."""

    task: str
    when: str  # date and time, as status.json has them
    command: str | None  # None: it was called from Python


def read_starts(status_file: Path) -> list[Start]:
    """Give every start, in their order; of a training those that found an epoch left to train."""
    starts: list[Start] = []
    trained: list[Start] = []
    for entry in _entries(status_file):
        if entry["status"] == "STARTED":
            task = entry["message"].removesuffix(" starts")
            starts.append(Start(task, f"{entry['date']} {entry['time']}", entry.get("command")))
        elif starts and entry.get("epoch") is not None and starts[-1] not in trained:
            trained.append(starts[-1])
    return trained or starts


def _entries(status_file: Path) -> Iterator[dict[str, Any]]:
    """Read the lines, but for one that a full disk cut short."""
    for line in status_file.read_text("utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def _forget_from(first_epoch: int, history: History) -> None:
    for values in history.values():
        for epoch in [epoch for epoch in values if epoch >= first_epoch]:
            del values[epoch]
