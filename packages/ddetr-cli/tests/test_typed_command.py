"""The command of a run, kept with it and shown in its report, to be pasted."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.report import write_evaluation_report, write_training_report
from ddetr_cli.running import SPEC_FILE
from ddetr_cli.terminal import StatusFile
from ddetr_cli.typed_command import command_typed, shell_line, typed_command
from ddetr_data.synthetic import make_dataset


def test_a_line_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd words and folders come out of a shell's reading as they were."""
    folder = tmp_path / "a b'c"
    folder.mkdir()
    monkeypatch.chdir(folder)
    words = ["train", "-e", "my spec.yaml", "dataset.x=[480, 512]", "", "it's", "$HOME", "\u72ac"]
    assert shlex.split(shell_line(words)) == ["cd", str(folder), "&&", "ddetr", *words]


@pytest.mark.parametrize(
    "words",
    [
        ["-k", "open sesame"],
        ["--key=open sesame"],
        ["encryption_key=open sesame"],
        ["encryptionkey=open sesame"],
        ["-e", "https://me:open%20sesame@host/x"],
        ["dataset={api_token: 'open sesame'}"],
    ],
)
def test_a_line_has_no_secret(words: list[str]) -> None:
    """Whatever option or key has it; -k - and -k @FILE are none."""
    line = shell_line(["train", *words])
    assert "sesame" not in line
    assert "***" in line
    assert shell_line(["train", "-k", "-"]).endswith("ddetr train -k -")


def test_a_run_keeps_the_command_that_started_it(tmp_path: Path, capsys) -> None:
    """In the first line of its status; what is called from Python has none."""
    make_dataset(tmp_path / "data", num_images={"train": 2}, image_size_hw=(32, 32))
    annotations = next((tmp_path / "data" / "annotations").glob("*train.json"))
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"format: coco_to_yolo\nresults_dir: {tmp_path}/out\ninput_source: {annotations}\n"
    )
    with pytest.raises(SystemExit):
        main(["convert", "-e", str(spec)])
    assert typed_command() is None
    said = capsys.readouterr()
    status = next(tmp_path.rglob("status.json"), None)
    assert status is not None, said.err
    first = json.loads(status.read_text().splitlines()[0])
    assert first["command"].endswith(f"&& ddetr convert -e {spec}")


def commands(report: Path) -> list[str]:
    text = report.read_text("utf-8")
    return [html.unescape(each) for each in re.findall(r"<pre>(.*?)</pre>", text)]


def test_reports_show_the_commands_that_made_them(tmp_path: Path) -> None:
    """Of an evaluation its last start, and those of the training that left its checkpoint."""
    train, evaluate = tmp_path / "train", tmp_path / "evaluate"
    for folder in (train, evaluate):
        folder.mkdir()
    status = StatusFile(train)
    status.write("STARTED", "train starts", command="ddetr train -e a.yaml -k '***'")
    status.write("STARTED", "train starts")
    again = StatusFile(evaluate)
    again.write("STARTED", "evaluate starts", command="ddetr evaluate -e old.yaml")
    again.write("STARTED", "evaluate starts", command="ddetr evaluate -e 'new spec.yaml'")
    content = {"checkpoint": str(train / "m.pth"), "overall": {"AP": 0.5}, "per_class": {}}
    (evaluate / "results.json").write_text(json.dumps(content))
    trained = ["ddetr train -e a.yaml -k '***'", f"ddetr train -e {train / SPEC_FILE}"]
    report = write_evaluation_report(evaluate)
    assert commands(report) == [*trained, "ddetr evaluate -e 'new spec.yaml'"]
    assert "*** is a secret" in report.read_text("utf-8")
    assert "called from Python" in report.read_text("utf-8")
    for number in range(6):
        status.write("STARTED", "train starts", command=f"ddetr train {number}")
    with command_typed(["compare"]):
        assert commands(write_training_report(train)) == [f"ddetr train {n}" for n in range(1, 6)]
    assert "3 starts before it" in (train / "report.html").read_text("utf-8")
