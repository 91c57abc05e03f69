"""status.json by itself: lines that stay apart whatever happened to the last one."""

from __future__ import annotations

from pathlib import Path

from ddetr_cli.report import read_history
from ddetr_cli.terminal import StatusFile
from ddetr_data.detection import RunEvent


def test_a_line_cut_short_spoils_no_other(tmp_path: Path) -> None:
    """After a full disk the next run's lines stand alone, and the history reads past the cut."""
    StatusFile(tmp_path).observe(RunEvent("epoch", "one", epoch=0, metrics={"train_loss": 2.0}))
    path = tmp_path / "status.json"
    path.write_text(path.read_text("utf-8") + '{"date": "2026-', "utf-8")
    StatusFile(tmp_path).observe(RunEvent("epoch", "two", epoch=1, metrics={"train_loss": 1.0}))
    assert [line[-1] for line in path.read_text("utf-8").splitlines()] == ["}", "-", "}"]
    assert read_history(path) == {"train_loss": {0: 2.0, 1: 1.0}}
