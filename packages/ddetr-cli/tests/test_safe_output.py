"""Class names and file names from outside do nothing but to be read, wherever they are shown."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from ddetr_cli.app import main
from ddetr_cli.report import bar_chart, write_evaluation_report
from ddetr_cli.running import RunLog
from ddetr_cli.terminal import RunConsole, StatusFile
from ddetr_data.detection import RunEvent

NAME = "a\x1b[31m\x9b2J\u202e<b>&[red]\x07\r\nz"
ACTING = re.compile("[\x1b\x9b\u202e\x07\r]")


def test_nothing_acts_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences, notices, faults, tables, tracebacks and scores."""
    # fault 40
    console = RunConsole()
    console.say(NAME)
    console.notice(NAME)
    console.fail(NAME)
    console.show_traceback(NAME)
    console.table(NAME, [NAME], [(NAME,)])
    console.scores({"AP": 0.5}, {NAME: {"AP": 0.5}})
    console.observe(RunEvent("started", NAME))
    said = capsys.readouterr()
    own_colors = re.compile("\x1b\\[[0-9;]*m")
    assert not ACTING.search(own_colors.sub("", said.out + said.err))
    assert "\\x1b[31m" in said.out


def test_nothing_acts_on_the_bar() -> None:
    """Brackets are no markup of the bar either."""
    # fault 40
    screen = io.StringIO()
    console = RunConsole(screen=Console(file=screen, force_terminal=True, width=200))
    console.observe(RunEvent("started", NAME))
    console.observe(RunEvent("step", NAME + "[/]", step=1, total_steps=2))
    console.say("x" + NAME)
    console.close()
    assert "\\u202e<b>&[red]" in screen.getvalue()
    assert "\u202e" not in screen.getvalue()


def test_nothing_acts_in_the_files_of_a_run(tmp_path: Path) -> None:
    """status.json has JSON's escapes and the true text, run.log one line a record."""
    # fault 40
    StatusFile(tmp_path).write("RUNNING", NAME)
    import logging

    with RunLog(lambda text: None, None) as log:
        log.open(tmp_path / "run.log")
        logging.getLogger("ddetr_data.x").warning("class %s", NAME)
    status, log_text = ((tmp_path / name).read_bytes() for name in ("status.json", "run.log"))
    assert json.loads(status)["message"] == NAME
    assert not ACTING.search(status.decode() + log_text.decode())
    assert len(log_text.decode().splitlines()) == 1


def test_nothing_acts_in_the_report(tmp_path: Path) -> None:
    """No markup, no sign that turns words; charts too."""
    # fault 40
    scores = {"AP": 0.5, "AP50": 0.5}
    name = NAME + "<script>alert(1)</script>"
    content = {"overall": scores, "per_class": {name: scores}, "checkpoint": name, "images": 1}
    (tmp_path / "results.json").write_text(json.dumps(content))
    page = write_evaluation_report(tmp_path).read_text()
    assert not ACTING.search(page + bar_chart("AP", [NAME], [0.5]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_nothing_acts_in_what_is_said_of_a_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Of words that are none, too."""
    # fault 40
    option = f"--{NAME}"
    for words in ([NAME], ["train", NAME], ["train", option, "-e", "x"], ["train", "-e", NAME]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert not ACTING.search(said.err.replace("\x1b[1m", "").replace("\x1b[31m\x1b[1m", ""))
