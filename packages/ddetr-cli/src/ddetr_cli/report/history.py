"""Reading the figures of each epoch from status.json."""

from __future__ import annotations

import json
from pathlib import Path

History = dict[str, dict[int, float]]  # figure -> epoch -> value


def read_history(status_file: Path) -> History:
    """Collect the figures of every epoch; an epoch that was trained twice counts as it was last.

    A line that a full disk cut short is passed over.
    """
    history: History = {}
    for line in status_file.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry["status"] == "RUNNING" and entry["epoch"] is not None:
            for name, value in entry["kpi"].items():
                if value is not None:
                    history.setdefault(name, {})[entry["epoch"]] = value
    return history
