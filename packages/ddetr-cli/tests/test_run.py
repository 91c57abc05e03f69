"""How a subtask ends: exit status, status.json, run.log and the sentence for the person."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from ddetr_cli.running import Run, Subtask, run_subtask
from ddetr_cli.spec import Experiment, SpecError
from ddetr_cli.terminal import Interrupted
from ddetr_data.detection import RunEvent
from ddetr_train.process import FolderInUseError

Work = Callable[[Run], Any]


class Finished:
    """What a run of the fake subtask left behind."""

    def __init__(self, exit_status: int, folder: Path, said: str) -> None:
        self.exit_status = exit_status
        self.said = said
        self.log = (folder / "run.log").read_text() if (folder / "run.log").exists() else ""
        status = folder / "status.json"
        lines = status.read_text().splitlines() if status.is_file() else []
        self.status = [json.loads(line) for line in lines]


@pytest.fixture
def finish(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run a subtask named train that checks and does what is given."""

    def run(
        work: Work, *overrides: str, checks: Work = lambda run: None, hold: Any = nullcontext
    ) -> Finished:
        def prepare(experiment: Experiment, run: Run) -> Callable[[], Mapping[str, float]]:
            checks(run)
            return lambda: work(run) or {}

        spec = tmp_path / "spec.yaml"
        spec.write_text(f"results_dir: {tmp_path}/results\n")
        task = Subtask("train", Experiment, lambda it: it.results_of("train"), prepare, hold)
        exit_status = run_subtask(task, spec, overrides)
        captured = capfd.readouterr()
        return Finished(exit_status, tmp_path / "results" / "train", captured.out + captured.err)

    return run


def raising(error: BaseException) -> Work:
    """Work that ends with an error from outside of our packages."""

    def work(run: Run) -> None:
        raise error

    return work


def test_success_is_the_last_line_and_exit_status_zero(finish: Callable[..., Finished]) -> None:
    """The figures of the run stand in the last line."""
    end = finish(lambda run: {"AP": 0.5})
    assert end.exit_status == 0
    assert [line["status"] for line in end.status] == ["STARTED", "SUCCESS"]
    assert end.status[-1]["kpi"] == {"AP": 0.5}


@pytest.mark.parametrize(
    "error",
    [
        KeyError("lost"),
        MemoryError(),
        RuntimeError("CUDA out of memory"),
        AssertionError("odd"),
        ValueError("from another library's depths"),
        SystemExit(1),
        OSError(5, "Input/output error", "/x"),
        OSError("from another library's depths"),
    ],
)
def test_a_fault_ends_in_one_sentence_and_a_traceback_in_the_log(
    finish: Callable[..., Finished], error: BaseException
) -> None:
    """Whatever is raised, the last line says FAILURE and the log holds the traceback."""
    end = finish(raising(error))
    assert end.exit_status == 1
    assert end.status[-1]["status"] == "FAILURE"
    assert "Traceback" not in end.said
    assert f"train failed: {type(error).__name__}" in end.said
    assert "run.log" in end.said
    assert f"{type(error).__name__}" in end.log
    assert "Traceback" in end.log


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SpecError("a.b is not set"), "a.b is not set"),
        (FileNotFoundError("/data is not there"), "/data is not there"),
        (FileNotFoundError(2, "No such file or directory", "/x.pth"), "/x.pth: No such file"),
        (OSError(30, "Read-only file system", "/x.onnx"), "/x.onnx: Read-only file system"),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
        (OSError(122, "Disk quota exceeded", "/x"), "/x: Disk quota exceeded"),
    ],
)
def test_a_callers_mistake_is_exit_status_two(
    finish: Callable[..., Finished], error: Exception, sentence: str
) -> None:
    """One sentence, no traceback anywhere."""
    end = finish(raising(error))
    assert end.exit_status == 2
    assert end.status[-1]["status"] == "FAILURE"
    assert sentence in end.status[-1]["message"]
    assert sentence in end.said
    assert end.log == ""


def test_a_value_error_of_our_packages_is_a_callers_mistake(
    finish: Callable[..., Finished],
) -> None:
    """The engine's own ValueError is an answer, not a fault."""
    from ddetr_data.coco import load_sources

    end = finish(lambda run: load_sources([], num_classes=None))
    assert end.exit_status == 2
    assert "at least one data source" in end.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_as_interrupted(finish: Callable[..., Finished], number: int) -> None:
    """Ctrl+C and the polite kill are told apart from a fault: exit status 130."""
    end = finish(lambda run: os.kill(os.getpid(), number))
    assert end.exit_status == 130
    assert end.status[-1]["status"] == "INTERRUPTED"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_library_cannot_hide_an_interrupt(finish: Callable[..., Finished]) -> None:
    """A KeyboardInterrupt that comes back as another exit is still one."""

    def work(run: Run) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemExit(1) from None

    assert finish(work).exit_status == 130


def test_an_engine_can_stop_in_good_order(finish: Callable[..., Finished]) -> None:
    """What it kept is told."""
    end = finish(raising(Interrupted("dd_model_latest.pth holds the state")))
    assert end.exit_status == 130
    assert "dd_model_latest.pth" in end.status[-1]["message"]


def test_a_wrong_spec_leaves_no_results_folder(
    finish: Callable[..., Finished], tmp_path: Path
) -> None:
    """Nothing has started, so nothing is written."""
    end = finish(lambda run: None, "train.num_epochs=0")
    assert end.exit_status == 2
    assert end.status == []
    assert not (tmp_path / "results").exists()


def test_a_results_folder_that_cannot_be_made_is_one_sentence(
    finish: Callable[..., Finished], tmp_path: Path
) -> None:
    """A file where the folder should be is named."""
    (tmp_path / "file").write_text("")
    end = finish(lambda run: None, f"results_dir={tmp_path}/file")
    assert end.exit_status == 2
    assert f"results_dir {tmp_path}/file/train cannot be written" in end.said


def refusing(folder: Path) -> nullcontext[None]:
    """Hold a folder as another process would."""
    raise FolderInUseError(f"{folder} is in use")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("is_there", [True, False], ids=["finished run", "no folder"])
@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"checks": raising(SpecError("a.b is not set"))}, 2, "a.b is not set"),
        ({"checks": raising(RuntimeError("no memory"))}, 1, "train failed: RuntimeError"),
        ({"checks": raising(KeyboardInterrupt())}, 130, "train was interrupted"),
        ({"hold": refusing}, 2, "is in use"),
    ],
    ids=["refused", "fault", "interrupted", "in use"],
)
def test_a_run_that_never_began_changes_nothing(
    finish: Callable[..., Finished],
    tmp_path: Path,
    options: dict[str, Any],
    status: int,
    sentence: str,
    is_there: bool,
) -> None:
    """The record of the finished run stays byte for byte, and no folder is made for another."""
    folder = tmp_path / "results" / "train"
    if is_there:
        finish(lambda run: {"AP": 0.5})
    before = contents(folder) if is_there else {}
    end = finish(lambda run: None, "train.num_epochs=3", **options)
    assert end.exit_status == status
    assert sentence in end.said
    assert folder.exists() == is_there
    assert not is_there or contents(folder) == before
    assert (tmp_path / "results").exists() == is_there


def test_a_fault_before_the_record_shows_where_it_came_from(
    finish: Callable[..., Finished],
) -> None:
    """There is no file yet to keep its traceback; the passphrase stays masked."""
    end = finish(
        lambda run: None, "encryption_key=sesame", checks=raising(RuntimeError("of sesame"))
    )
    assert end.said.count("Traceback (most recent call last)") == 1
    assert "RuntimeError: of ***" in end.said
    assert "sesame" not in end.said


def test_what_the_checks_say_is_told_at_once_and_kept_when_the_run_begins(
    finish: Callable[..., Finished],
) -> None:
    """The console has it in any case; the status has it behind its first line."""
    end = finish(lambda run: run.notice("late"), checks=lambda run: run.notice("early"))
    assert [line["message"] for line in end.status[1:-1]] == ["early", "late"]
    assert end.said.count("notice: early") == 1
    refused = finish(lambda run: None, checks=lambda run: (run.notice("seen"), 1 / 0))
    assert "notice: seen" in refused.said
    assert refused.status == end.status


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["status.json", "experiment.yaml"])
def test_a_record_begins_whole_or_not_at_all(
    finish: Callable[..., Finished], tmp_path: Path, name: str
) -> None:
    """A disk that has no room for either file: exit status 2, and neither has changed."""
    folder = tmp_path / "results" / "train"
    finish(lambda run: None)
    other = "status.json" if name == "experiment.yaml" else "experiment.yaml"
    before = (folder / other).read_bytes()
    (folder / name).unlink()
    if name == "status.json":
        (folder / name).symlink_to("/dev/full")
    else:
        (folder / name).mkdir()  # a rename onto a folder fails at the very end, too
    end = finish(lambda run: None, "train.num_epochs=3")
    assert end.exit_status == 2
    assert "results_dir" in end.said
    assert (folder / other).read_bytes() == before


@pytest.mark.parametrize("early", [True, False], ids=["there before", "made by the run"])
def test_a_folder_is_held_from_the_checks_to_the_last_line(
    finish: Callable[..., Finished], tmp_path: Path, early: bool
) -> None:
    """One that is not there yet is held as soon as it is."""
    folder = tmp_path / "results" / "train"
    told: list[str] = []
    if early:
        folder.mkdir(parents=True)

    @contextmanager
    def hold(held: Path) -> Iterator[None]:
        told.append("held")
        yield
        told.append((held / "status.json").read_text().splitlines()[-1])

    finish(lambda run: told.append("work"), checks=lambda run: told.append("checks"), hold=hold)
    assert told[:-1] == (["held", "checks", "work"] if early else ["checks", "held", "work"])
    assert "SUCCESS" in told[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_file_is_exit_status_130(
    finish: Callable[..., Finished], number: int
) -> None:
    """Nothing has started, so nothing is written."""

    def interrupted(folder: Path) -> nullcontext[None]:
        os.kill(os.getpid(), number)
        return nullcontext()

    end = finish(lambda run: None, hold=interrupted)
    assert (end.exit_status, end.status) == (130, [])
    assert "train was interrupted" in end.said


def test_a_second_signal_does_not_cut_the_last_line(finish: Callable[..., Finished]) -> None:
    """Ctrl+C again while the run closes its files changes nothing."""

    class Stopped(Interrupted):
        def __str__(self) -> str:
            os.kill(os.getpid(), signal.SIGINT)  # while the end is put into words
            return "the state is kept"

    end = finish(raising(Stopped()))
    assert (end.exit_status, end.status[-1]["status"]) == (130, "INTERRUPTED")
    assert end.status[-1]["message"] == "train was interrupted: the state is kept"


def test_experiment_yaml_says_what_ran(finish: Callable[..., Finished], tmp_path: Path) -> None:
    """The file holds the override and loads again to the same run."""
    finish(lambda run: None, "train.num_epochs=3")
    written = tmp_path / "results" / "train" / "experiment.yaml"
    assert "num_epochs: 3" in written.read_text()


def test_a_passphrase_is_masked_everywhere(finish: Callable[..., Finished], tmp_path: Path) -> None:
    """Console, status, log and dump show stars, even when an error quotes the key."""
    end = finish(raising(RuntimeError("key sesame is wrong")), "encryption_key=sesame")
    assert "sesame" not in end.said + end.log + json.dumps(end.status)
    for path in (tmp_path / "results").rglob("*"):
        assert path.is_dir() or b"sesame" not in path.read_bytes()


def test_other_ranks_are_silent(
    finish: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the first process of a run writes files and lines; a fault is still an exit status."""
    peers = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (peers | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}).items():
        monkeypatch.setenv(name, value)
    end = finish(lambda run: run.notice("hello"))
    assert (end.exit_status, end.said, end.status) == (0, "", [])
    assert finish(raising(RuntimeError("x"))).exit_status == 1
    assert "Traceback" in (tmp_path / "results/train/run-rank1.log").read_text()


def test_events_become_lines_of_status(finish: Callable[..., Finished]) -> None:
    """Epochs and notices are written, single steps are not, a notice once."""

    def work(run: Run) -> None:
        run.report(RunEvent("step", step=1, total_steps=4))
        run.report(
            RunEvent("epoch", epoch=0, eta_seconds=3725.2, metrics={"a": float("nan"), "b": 1.0})
        )
        run.notice("no GPU")
        run.notice("no GPU")

    end = finish(work)
    assert [line["message"] for line in end.status[1:-1]] == ["epoch", "no GPU"]
    epoch = end.status[1]
    assert set(epoch) == {"date", "time", "status", "message", "kpi", "epoch", "eta"}
    assert (epoch["epoch"], epoch["eta"]) == (0, "1:02:05")
    assert epoch["kpi"] == {"a": None, "b": 1.0}
    assert end.said.count("no GPU") == 1


def test_a_name_that_is_no_unicode_is_a_line_too(finish: Callable[..., Finished]) -> None:
    """A file name of an older system is shown with an escape and read back whole."""
    end = finish(lambda run: run.notice("caf\udce9.png"))
    assert end.exit_status == 0
    assert end.status[1]["message"] == "caf\udce9.png"


def test_a_second_run_appends(finish: Callable[..., Finished]) -> None:
    """Earlier lines of status.json stay."""
    finish(lambda run: None)
    assert len(finish(lambda run: None).status) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_too_full_for_the_last_line_is_a_failure(
    finish: Callable[..., Finished],
) -> None:
    """Work that was done but cannot be noted ends with status 1 and a sentence with the file."""

    def fill_the_disk(run: Run) -> None:
        status = run.results_dir / "status.json"
        status.unlink()
        status.symlink_to("/dev/full")

    end = finish(fill_the_disk)
    assert end.exit_status == 1
    assert "status.json: No space left on device" in end.said
