"""status.json: one JSON line for each step of a run; the last one tells how it ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from ddetr_cli.masking import without_passwords
from ddetr_data import shown_json
from ddetr_data.detection import RunEvent

State: TypeAlias = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE", "INTERRUPTED"]
_WRITTEN_KINDS = {"started", "epoch", "validation", "checkpoint", "notice", "waiting", "finished"}


class StatusFile:
    """Appends lines to <folder>/status.json; earlier runs' lines stay."""

    NAME = "status.json"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.NAME
        self._said: set[str] = set()
        self._end_cut_line()

    def write(
        self,
        state: State,
        message: str,
        *,
        kpi: Mapping[str, float] | None = None,
        epoch: int | None = None,
        eta_seconds: float | None = None,
        is_warning: bool = False,
        command: str | None = None,
    ) -> None:
        """Append one line; figures that JSON cannot hold (NaN, infinity) become null.

        A warning's line has a key more, `verbosity`, and the first one of a run `command`. Signs
        that would act on a terminal stand in escapes, passwords in URLs in stars.
        """
        now = datetime.now()
        line = {
            "date": now.date().isoformat(),
            "time": now.time().isoformat("seconds"),
            "status": state,
            "message": without_passwords(message),
            "kpi": {name: _finite(value) for name, value in (kpi or {}).items()},
            "epoch": epoch,
            "eta": None if eta_seconds is None else duration(eta_seconds),
            **({"verbosity": "WARNING"} if is_warning else {}),
            **({} if command is None else {"command": without_passwords(command)}),
        }
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(shown_json(json.dumps(line, ensure_ascii=False)) + "\n")
        except OSError as error:  # a full disk's error names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _end_cut_line(self) -> None:
        """Keep a line that a full disk cut short from swallowing the next one."""
        if self.path.is_file() and (text := self.path.read_bytes()) and not text.endswith(b"\n"):
            with self.path.open("ab") as file:
                file.write(b"\n")

    def observe(self, event: RunEvent) -> None:
        """Write what a run reports, save for its single steps and for notices said before."""
        is_known = event.kind in ("notice", "waiting") and event.message in self._said
        if event.kind in _WRITTEN_KINDS and not is_known:
            self._said.add(event.message)
            self.write(
                "RUNNING",
                event.message or event.kind,
                kpi=event.metrics,
                epoch=event.epoch,
                eta_seconds=event.eta_seconds,
                is_warning=event.is_warning,
            )


def duration(seconds: float) -> str:
    """Write seconds as h:mm:ss."""
    return str(timedelta(seconds=round(max(seconds, 0))))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
