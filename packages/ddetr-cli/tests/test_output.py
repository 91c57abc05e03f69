"""--quiet, --verbose, --debug and --json, on every command; NO_COLOR."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ddetr_cli.app import main
from ddetr_cli.commands.table import COMMANDS
from ddetr_cli.running import run_command
from ddetr_cli.terminal import OUTPUT_OPTIONS, RunConsole, output_as, output_words
from ddetr_data.detection import RunEvent

# What each command refuses at once; of all commands, so that a new one gets a row.
REFUSED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("convert", "train", "evaluate", "inference", "export", "gen_trt_engine"),
        ("-e", "none.yaml"),
    ),
    **dict.fromkeys(("check", "summary", "migrate", "plan"), ("-e", "none.yaml")),
    "init": ("none",),
    "compare": ("none", "none"),
    "spec": ("doctor",),
    "keys": ("doctor",),
    "serve": ("none.onnx",),
    "import": ("none.pth", "-o", "out.pth"),
    "replay": ("none.pt",),
    "doctor": ("superfluous",),
    "demo": ("--epochs", "0"),
}


def ddetr(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_command_has_a_row() -> None:
    """A command that is new is tried too."""
    assert set(REFUSED) == {command.name for command in COMMANDS}


@pytest.mark.parametrize("options", [(), *((option,) for option in OUTPUT_OPTIONS)], ids=str)
@pytest.mark.parametrize("command", REFUSED)
def test_every_command_takes_every_option(
    command: str,
    options: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refusal is 2 and a sentence on standard error in each form; with --json also a line."""
    monkeypatch.chdir(tmp_path)
    assert ddetr(command, *REFUSED[command], *options) == 2
    said = capsys.readouterr()
    assert "No such option" not in said.err
    sentences = said.err.strip().splitlines()
    assert sentences
    has_sentence = command not in ("doctor", "demo")  # of which click has more lines
    if "--debug" in options and has_sentence:
        assert "Traceback" in said.err
    elif has_sentence:
        assert len(sentences) == 1
    if "--json" not in options:
        assert "Traceback" in said.err or said.out == ""
        return
    *_, last = lines_of(said.out)
    assert (last["event"], last["exit_status"]) == ("error", 2)
    assert last["message"] in said.err


@pytest.mark.parametrize("where", ["in front", "behind"])
def test_an_option_may_stand_anywhere(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the subtask too."""
    words = ("--json", "spec") if where == "in front" else ("spec", "--json")
    assert ddetr(*words) == 0
    (line,) = lines_of(capsys.readouterr().out)
    assert line["event"] == "result"
    assert "num_epochs" in line["text"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["check", "--json", "a.json"], []),
        (["check", "--json", "-"], []),
        (["check", "--json", "-e", "s"], ["--json"]),
        (["train", "--json", "a=1"], ["--json"]),
        (["train", "--", "--json"], []),
        (["train", "--quiet", "--debug"], ["--quiet", "--debug"]),
    ],
)
def test_options_are_told_from_other_words(words: list[str], options: list[str]) -> None:
    """`check --json` may have a file, which it had first."""
    others, found = output_words(words)
    assert found == options
    assert others == [word for word in words if word not in options]


def run_of_everything(console: RunConsole) -> int:
    """All that a command can say."""
    console.tell("on the way")
    console.observe(RunEvent("started", "work"))
    console.observe(RunEvent("step", step=1, total_steps=2, metrics={"step_loss": float("nan")}))
    console.observe(RunEvent("checkpoint", "kept", is_routine=True))
    console.notice("mind this")
    logging.getLogger("ddetr_data").info("a log line")
    logging.getLogger("elsewhere").debug("another's line")
    console.table("scores", ["class", "AP"], [("cat", "0.5")])
    console.say("the result")
    return 0


def said_with(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    with output_as(options):
        run_command(run_of_everything)
    said = capsys.readouterr()
    return said.out, said.err


def test_quiet_says_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Tables and results, no progress and no notice."""
    out, err = said_with(capsys, "--quiet")
    assert err == ""
    assert "the result" in out
    assert "cat" in out
    assert "on the way" not in out
    assert "1/2" not in out


def test_without_an_option_logs_and_routine_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The way and notices are said."""
    out, err = said_with(capsys)
    assert "on the way" in out
    assert "kept" not in out
    assert err == "notice: mind this\n"


def test_verbose_and_debug_say_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps and our logs; with --debug everybody's."""
    out, err = said_with(capsys, "--verbose")
    assert "1/2" in out
    assert "kept" in out
    assert "INFO ddetr_data a log line" in err
    assert "another's line" not in err
    _, err = said_with(capsys, "--debug")
    assert "another's line" in err
    assert logging.getLogger().handlers == [] or "_Screen" not in str(logging.getLogger().handlers)


def test_json_lines_are_all_that_is_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each event is a line, NaN is null, what others print goes to standard error."""
    with output_as(["--json"]):
        run_command(run_of_everything)
        print("a library's word")
    said = capsys.readouterr()
    lines = lines_of(said.out)
    kinds = ["line", "started", "step", "checkpoint", "notice", "table", "line", "result"]
    assert [line["event"] for line in lines] == kinds
    assert lines[2]["metrics"] == {"step_loss": None}
    assert lines[5]["rows"] == [["cat", "0.5"]]
    assert lines[-1]["exit_status"] == 0
    assert said.err == "a library's word\n"
    assert all("time" in line for line in lines)


def test_an_interrupt_and_a_fault_have_their_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """130 and 1."""
    for error, status in ((KeyboardInterrupt(), 130), (RuntimeError("broken"), 1)):
        with pytest.raises(type(error)), output_as(["--json"]):
            raise error
        (line,) = lines_of(capsys.readouterr().out)
        assert (line["event"], line["exit_status"]) == ("error", status)


def test_a_training_is_told_in_lines(tiny_spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The events of status.json, and the figures in the last line."""
    pytest.importorskip("torch")
    assert ddetr("train", "--json", "-e", str(tiny_spec), "train.is_dry_run=true") == 0
    lines = lines_of(capsys.readouterr().out)
    assert {"line", "result"} <= {line["event"] for line in lines}
    assert lines[-1]["message"] == "train is done"
    assert "metrics" in lines[-1]


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_no_colour_where_none_is_wanted(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_COLOR and a plain terminal."""
    monkeypatch.setenv(variable, "dumb")
    RunConsole().fail("wrong")
    assert "\033" not in capsys.readouterr().err
