"""run.log: what goes into it, and what happens when it cannot be written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ddetr_cli.running import RunLog

logger = logging.getLogger("ddetr_data.somewhere")


def log_some(path: Path) -> tuple[list[str], str]:
    """Log three lines and a fault; gives what the person is told, and where the traceback is."""
    notices: list[str] = []
    with RunLog(notices.append, secret=None) as log:
        log.open(path)
        for number in range(3):
            logger.warning("line %d", number)
        return notices, log.keep_traceback(RuntimeError("odd"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_once_and_costs_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings still reach the person, no traceback of the logger does."""
    notices, traceback = log_some(Path("/dev/full"))
    fault = "/dev/full cannot be written: No space left on device"
    assert sorted(notices) == [fault, "line 0", "line 1", "line 2"]
    assert traceback == "the traceback could not be kept"
    assert capfd.readouterr() == ("", "")


def test_a_log_that_cannot_be_opened_does_not_end_the_work(tmp_path: Path) -> None:
    """Not even the first line, which opens the file, raises."""
    notices, _ = log_some(tmp_path)
    assert f"{tmp_path} cannot be written: Is a directory" in notices


def test_a_disk_too_full_for_the_notice_too_ends_nothing(tmp_path: Path) -> None:
    """status.json is on the same disk; its own fault is told where the run ends."""

    def fail(text: str) -> None:
        if "cannot be written" in text:
            raise OSError(28, "No space left on device")

    with RunLog(fail, secret=None) as log:
        log.open(tmp_path)
        logger.info("a line")
        assert "could not be kept" in log.keep_traceback(KeyError("x"))


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    """Half a surrogate pair in a file's name is no reason to lose the line."""
    with RunLog(lambda text: None, secret=None) as log:
        log.open(tmp_path / "run.log")
        logger.warning("skipped image=%s", "a\ud800.jpg")
    assert "image=a\\ud800.jpg" in (tmp_path / "run.log").read_text()


def test_lines_and_traceback_are_in_the_file(tmp_path: Path) -> None:
    """The file is named in the sentence."""
    notices, traceback = log_some(tmp_path / "run.log")
    assert notices == ["line 0", "line 1", "line 2"]
    assert traceback == f"the traceback is in {tmp_path / 'run.log'}"
    text = (tmp_path / "run.log").read_text()
    assert "WARNING ddetr_data.somewhere line 2" in text
    assert "RuntimeError: odd" in text


def test_what_was_logged_before_the_file_opens_comes_first(tmp_path: Path) -> None:
    """Its lines wait; where the file never opens, none is written anywhere."""
    with RunLog(lambda text: None, secret="sesame") as log:
        logger.info("sesame early")
        log.open(tmp_path / "run.log")
        logger.info("late")
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.rpartition("somewhere ")[2] for line in lines] == ["*** early", "late"]
    with RunLog(lambda text: None, secret="sesame") as log:
        logger.info("early")
        assert "sesame" not in log.traceback_of(KeyError("sesame"))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("secret", "said"), [("a", "data *** ***."), ("dat", "data a a."), ("data", "*** a a.")]
)
def test_a_short_secret_is_starred_out_as_a_word(secret: str, said: str) -> None:
    """A key of one letter stands in every sentence; a longer one goes wherever it stands."""
    notices: list[str] = []
    with RunLog(notices.append, secret=secret):
        logger.warning("data a a.")
    assert notices == [said]
