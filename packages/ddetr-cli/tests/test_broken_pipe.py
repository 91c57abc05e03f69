"""A reader that leaves, a full disk, closed streams: what happens to the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddetr_cli.terminal import LastingStream

RUN = "from ddetr_cli.app import main; main()"
# A run that goes on talking after its reader has gone, and leaves a file at its end.
TALK = """
import pathlib, sys, time
from ddetr_cli.terminal import RunConsole, lasting_output
with lasting_output():
    console = RunConsole()
    for number in range(200):
        console.say("x" * 1000)
        console.table("numbers", ["n"], [(str(number),)])
    pathlib.Path(sys.argv[1]).write_text("done")
    sys.exit(0)
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text("train: {num_epochs: 3}\n")
    return path


def test_a_reader_that_leaves_does_not_end_a_run(tmp_path: Path) -> None:
    """Exit status 0, the work done, nothing on standard error."""
    mark = tmp_path / "mark"
    command = [sys.executable, "-c", TALK, str(mark)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
    assert mark.read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_words_that_a_full_disk_lost_are_a_fault(spec: Path) -> None:
    """One sentence and exit status 1: the table is what was asked for."""
    command = [sys.executable, "-c", RUN, "migrate", "-e", str(spec)]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "ddetr: standard output cannot be written: No space left on device\n"


def test_closed_streams_are_no_fault(spec: Path) -> None:
    """As under a service manager that gives a process none."""
    line = f'"{sys.executable}" -c "{RUN}" migrate -e {spec} >&- 2>&-'
    assert subprocess.run(["sh", "-c", line]).returncode == 0


def test_a_stream_that_works_is_left_alone(tmp_path: Path) -> None:
    """Every word arrives, and the first fault is kept for whoever asks."""
    with (tmp_path / "out").open("w") as file:
        stream = LastingStream(file)
        assert stream.write("word") == 4
        stream.flush()
        assert (stream.fault, stream.fileno()) == (None, file.fileno())
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        stream = LastingStream(file)
        stream.write("word")
        stream.flush()
        assert isinstance(stream.fault, BrokenPipeError)
        stream.write("another")
        stream.flush()


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    """A class name beyond the stream's encoding, and a file name that is no Unicode."""
    with (tmp_path / "out").open("w", encoding="latin-1") as file:
        LastingStream(file).write("caf\u00e9 \u56fe \udce9")
    assert (tmp_path / "out").read_bytes() == b"caf\xe9 \\u56fe \\udce9"
