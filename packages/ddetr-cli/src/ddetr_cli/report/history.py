"""Reading the figures of each epoch from status.json."""

from __future__ import annotations

import json
from pathlib import Path

History = dict[str, dict[int, float]]  # figure -> epoch -> value


def read_history(status_file: Path) -> History:
    """Collect the figures of every epoch; an epoch that was trained twice counts as it was last.

    A start that trains an epoch again trains those after it again too, so what earlier starts said
    of them is left out. A line that a full disk cut short is passed over.
    """
    history: History = {}
    begins = False
    for line in status_file.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        begins = begins or entry["status"] == "STARTED"
        if entry["status"] == "RUNNING" and entry["epoch"] is not None and entry["kpi"]:
            if begins:
                begins = False
                _forget_from(entry["epoch"], history)
            for name, value in entry["kpi"].items():
                if value is not None:
                    history.setdefault(name, {})[entry["epoch"]] = value
    return history


def _forget_from(first_epoch: int, history: History) -> None:
    for values in history.values():
        for epoch in [epoch for epoch in values if epoch >= first_epoch]:
            del values[epoch]
