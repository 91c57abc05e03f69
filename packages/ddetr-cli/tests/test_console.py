"""What a person sees: plain lines off a terminal, a bar on one, tables at the end."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ddetr_cli.terminal import RunConsole, figure
from ddetr_data.detection import RunEvent


def test_an_epoch_is_one_line_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Loss, scores and the time left; no control characters."""
    metrics = {"train_loss": 1.25, "val_AP": 0.5, "val_ARs": 0.1}
    RunConsole().observe(RunEvent("epoch", epoch=3, metrics=metrics, eta_seconds=61))
    line = capsys.readouterr().out
    assert line == "epoch 3  train_loss 1.25  val_AP 0.5  0:01:01 left\n"


def test_steps_off_a_terminal_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand quick steps do not fill a log file."""
    console = RunConsole()
    for step in range(1000):
        console.observe(RunEvent("step", "images", step=step, total_steps=1000))
    assert len(capsys.readouterr().out.splitlines()) <= 1


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    """The bar shows where the run is, and goes away at the end."""
    screen = io.StringIO()
    console = RunConsole(screen=Console(file=screen, force_terminal=True, width=100))
    event = RunEvent("step", epoch=2, step=5, total_steps=10, eta_seconds=90)
    console.observe(event)
    console.close()
    console.close()
    assert "5/10" in screen.getvalue()
    assert "0:01:30 left" in screen.getvalue()


def test_a_terminal_gets_a_table_of_the_epochs() -> None:
    """Headings once, a row an epoch, with rate and peak memory of its last step."""
    screen = io.StringIO()
    console = RunConsole(screen=Console(file=screen, force_terminal=True, width=120))
    step = {"step_loss": 9.0, "lr_base": 2e-4, "peak_memory_gib": 1.5, "images_per_second": 8.0}
    for epoch, scores in enumerate([{}, {"val_AP": 0.25, "val_loss": 3.0}]):
        console.observe(RunEvent("step", epoch=epoch, step=1, total_steps=2, metrics=step))
        metrics = {"train_loss": 4.0, **scores}
        console.observe(RunEvent("epoch", epoch=epoch, metrics=metrics, eta_seconds=60))
    console.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line.split() for line in text.splitlines()]
    assert sum("peak" in line and "AP50" in line for line in lines) == 1
    assert ["0", "4", "0.0002", "1.5", "0:01:00"] in lines
    assert ["1", "4", "3", "0.25", "0.0002", "1.5", "0:01:00"] in lines
    assert "8.0 images/s  1.5 GiB" in " ".join(text.split("\n"))


def test_a_narrow_terminal_gets_fewer_columns_and_no_torn_figures() -> None:
    """At 40 columns an epoch is one line, and the twelve scores stand below each other."""
    screen = io.StringIO()
    console = RunConsole(screen=Console(file=screen, force_terminal=True, width=40))
    metrics = {"train_loss": 4.0, "val_AP": 0.25, "val_AP50": 0.5, "val_loss": 3.0}
    console.observe(RunEvent("step", epoch=0, step=1, total_steps=2, metrics=metrics))
    console.observe(RunEvent("epoch", epoch=0, metrics=metrics, eta_seconds=60))
    console.close()
    console.scores({f"AP{index}": index / 20 for index in range(12)}, {})
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    assert ["0", "4", "0.25", "0:01:00"] in [line.split() for line in lines]
    assert ["AP11", "0.550"] in [line.split() for line in lines]
    assert max(map(len, lines)) <= 40


def test_the_file_of_every_epoch_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    """What is best or kept is said, the latest alone is not."""
    console = RunConsole()
    console.observe(RunEvent("checkpoint", "saved dd_model_latest.pth", is_routine=True))
    console.observe(RunEvent("checkpoint", "saved dd_model_latest.pth, dd_model_best.pth"))
    assert capsys.readouterr().out == "saved dd_model_latest.pth, dd_model_best.pth\n"


def test_steps_say_what_is_done_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine that counts images only gets the words of its start and a time left."""
    now = [1000.0]
    console = RunConsole(clock=lambda: now[0])
    console.observe(RunEvent("started", "evaluating 16 images"))
    now[0] += 30
    console.observe(RunEvent("step", step=4, total_steps=16))
    assert capsys.readouterr().out.splitlines()[-1] == "evaluating 16 images  4/16  0:01:30 left"


def test_notices_go_to_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in a text are shown, not taken for colours."""
    console = RunConsole()
    for _ in range(3):
        console.observe(RunEvent("notice", "lists like [red] stay"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["notice: lists like [red] stay"]


def test_scores_are_shown_overall_and_by_class(capsys: pytest.CaptureFixture[str]) -> None:
    """Three decimals; a figure that does not exist is a dash."""
    RunConsole().scores(
        {"AP": 0.12345, "APl": float("nan")}, {"blue car": {"AP": 0.5, "AP50": -1.0}}
    )
    out = capsys.readouterr().out
    assert "0.123" in out
    assert ["blue", "car", "0.500", "-"] in [line.split() for line in out.splitlines()]


def test_long_paths_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A path of a table can be copied from a log."""
    path = "/results/" + "x" * 120
    RunConsole().table("files", ["what", "where"], [("model", path)])
    assert path in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.500"), (float("nan"), "-"), (-1.0, "-"), (1.0, "1.000")]
)
def test_a_figure_without_ground_truth_is_a_dash(value: float, text: str) -> None:
    """pycocotools writes -1 for it."""
    assert figure(value) == text


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(
    variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    RunConsole(errors=terminal).fail("no")
    assert "\x1b" in terminal.getvalue()
    monkeypatch.setenv(*variable)
    terminal = Terminal()
    RunConsole(errors=terminal).fail("no")
    assert terminal.getvalue() == "ddetr: no\n"


def test_a_title_stays_in_one_line_above_a_narrow_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table grows to its title, as far as the screen goes."""
    RunConsole().table("2 images, 3 videos (90 frames)", ["class", "objects"], [("all", "0")])
    assert capsys.readouterr().out.splitlines()[0].strip() == "2 images, 3 videos (90 frames)"


def test_steps_of_an_unknown_total_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A video that does not say how long it is shows the frames done."""
    RunConsole().observe(RunEvent("step", "frames of a.mpg", step=8))
    assert capsys.readouterr().out == "frames of a.mpg  8\n"


def test_a_table_may_have_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    """As of a conversion of which nothing is left."""
    # fault 20
    RunConsole().table("0 images", ["class", "id"], [])
    assert "class" in capsys.readouterr().out
