"""The HTML report: one file, the figures of status.json and results.json and no others."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ddetr_cli.report.charts import bar_chart
from ddetr_cli.report.history import read_history
from ddetr_cli.report.page import write_evaluation_report, write_training_report
from ddetr_cli.status import StatusFile
from ddetr_train.events import RunEvent


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the status file of two epochs, the second of them trained twice."""
    status = StatusFile(tmp_path)
    status.write("STARTED", "train starts")
    for epoch, loss in ((0, 3.0), (1, 2.5), (1, 2.25)):
        metrics = {"train_loss": loss, "val_AP": 0.125, "val_APl": float("nan")}
        status.observe(RunEvent("epoch", epoch=epoch, metrics=metrics))
    status.write("SUCCESS", "train is done", kpi={"train_loss": 9.0})
    return tmp_path


def test_the_history_is_what_status_json_says(trained: Path) -> None:
    """The last word on an epoch counts; figures that do not exist are left out."""
    history = read_history(trained / "status.json")
    assert history == {"train_loss": {0: 3.0, 1: 2.25}, "val_AP": {0: 0.125, 1: 0.125}}


def test_a_training_report_stands_alone(trained: Path) -> None:
    """Curves inside the file, nothing fetched from elsewhere."""
    text = write_training_report(trained).read_text("utf-8")
    assert text.count("<svg") == 2
    assert "<td>2.250</td>" in text
    assert "<script" not in text
    assert 'src="' not in text


def test_an_evaluation_report_ranks_the_classes(tmp_path: Path) -> None:
    """The best class first; names are escaped; a class without objects has a dash."""
    per_class = {
        "<b>": {"AP": 0.25, "AP50": 0.5},
        "none": {"AP": None, "AP50": None},
        "good": {"AP": 0.75, "AP50": 1.0},
    }
    content = {"checkpoint": "m.pth", "overall": {"AP": 0.5, "APl": None}, "per_class": per_class}
    (tmp_path / "results.json").write_text(json.dumps(content))
    text = write_evaluation_report(tmp_path).read_text("utf-8")
    table = text[text.rindex("<table") :]
    assert table.index("good") < table.index("&lt;b&gt;") < table.index("none")
    assert "<td>-</td>" in table
    assert "<b>" not in text


def test_equal_figures_draw_equal_charts() -> None:
    """A chart is well-formed, and depends on its figures alone."""
    first, second = (bar_chart("AP", ["cat"], [0.5]) for _ in range(2))
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert first == second
