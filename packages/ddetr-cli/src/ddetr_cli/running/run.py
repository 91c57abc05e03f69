"""One subtask from its spec to its exit status, whatever happens on the way."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias

from pydantic import BaseModel

from ddetr_cli.__about__ import __version__
from ddetr_cli.masking import masked
from ddetr_cli.passphrase import NOTICE, hand_on_by_environment
from ddetr_cli.running.exit_status import (
    EXIT_BAD_INPUT,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    Ending,
    ending_of,
    refusal_of,
    sentence,
)
from ddetr_cli.running.record import RunRecord
from ddetr_cli.running.run_log import RunLog, screen_log
from ddetr_cli.spec import (
    Experiment,
    LoadedSpec,
    Spec,
    SpecError,
    SpecTree,
    load_tree,
    read_spec_file,
    spec_yaml,
)
from ddetr_cli.terminal import Interrupts, RunConsole, current_output, last_word
from ddetr_cli.typed_command import typed_command
from ddetr_data.detection import Observer, RunEvent
from ddetr_data.loading import default_cache_dir
from ddetr_train.process import Launch, LaunchError, current_launch


@dataclass(frozen=True)
class Done:
    """What work has come to: figures for status.json, and the whole for a caller in Python."""

    figures: Mapping[str, float]
    result: Any = None


Work: TypeAlias = Callable[[], Mapping[str, float] | Done]
TakeBack: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class SpecSource:
    """Where a spec comes from."""

    name: str  # what a person calls it
    read: Callable[[], SpecTree]
    overrides: Sequence[str] = ()  # key.sub=value each


@dataclass(frozen=True)
class RecordedWork:
    """Work of which the record needs more than the spec that was read.

    `spec` is what it truly runs with. `make_way` moves out of the folder what an earlier run left
    there, before the first file is written, and gives what takes that back.
    """

    work: Work
    spec: BaseModel
    make_way: Callable[[], TakeBack]


@dataclass(frozen=True)
class Run:
    """What a subtask has while it works."""

    results_dir: Path
    console: RunConsole
    observers: tuple[Observer, ...]
    launch: Launch

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the files of the run; the others only compute."""
        return self.launch.is_first

    def report(self, event: RunEvent) -> None:
        """Hand an event to the console and to the record."""
        for observer in self.observers:
            observer(event)

    def notice(self, text: str) -> None:
        """Say what the person should know although nothing failed."""
        self.report(RunEvent("notice", text))


@dataclass(frozen=True)
class Subtask(Generic[Spec]):
    """A subtask of the command line, in two phases.

    `prepare` finds all that can refuse the run, what is missing first and what needs the data or
    the model next; it writes nothing, and gives the work, or what was done if nothing is left to
    do. Then the record of the run is opened, and the work done, which gives the figures that belong
    in the last line of status.json.

    `hold` keeps others out of the results folder. `by_hand` is set where MASTER_ADDR and NODE_RANK
    spread the work over machines.
    """

    name: str
    spec_model: type[Spec]
    results_of: Callable[[Spec], Path]
    prepare: Callable[[Spec, Run], Work | RecordedWork | Done]
    hold: Callable[[Path], AbstractContextManager[object]] = nullcontext
    by_hand: bool = False


def run_subtask(subtask: Subtask[Spec], spec_file: Path, overrides: Sequence[str] = ()) -> int:
    """Run a subtask and give its exit status; it raises nothing, a fault is its last sentence.

    A run that is refused changes nothing in the results folder, and does not make it.
    """
    # Matplotlib, which PyTorch Lightning imports too, makes a folder for its settings: not in the
    # user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(default_cache_dir() / "matplotlib"))
    source = SpecSource(str(spec_file.resolve()), partial(read_spec_file, spec_file), overrides)
    return _run(subtask, source, RunConsole).exit_status


def call_subtask(
    subtask: Subtask[Spec], source: SpecSource, *, quiet: bool = False
) -> tuple[Path, Any]:
    """Run a subtask as the command does, for Python; gives its results folder and its result.

    Args:
        quiet: Show nothing but what is waited for.

    Raises:
        InputError: wrong input, in the command's sentence.
        KeyboardInterrupt: it was interrupted, after all was written that is kept.
        Exception: a fault, whose traceback is in the run's log too.
    """

    def console(*, quiet: bool = quiet) -> RunConsole:
        return RunConsole(quiet=quiet, tells_faults=False)

    ending = _run(subtask, source, console)
    if ending.exit_status != EXIT_SUCCESS or ending.folder is None:
        ending.raise_error()
    return ending.folder, ending.result


def _run(
    subtask: Subtask[Spec], source: SpecSource, console_of: Callable[..., RunConsole]
) -> Ending:
    """Run a subtask from its spec to its ending, which has been told."""
    console = console_of()
    try:
        launch = current_launch(by_hand=subtask.by_hand)
    except LaunchError as error:
        return _told(refusal_of(error), console)
    if not launch.is_first:
        console = console_of(quiet=True)
    with Interrupts() as interrupts:
        try:
            tree = source.read()
            loaded = load_tree(subtask.spec_model, tree, source.overrides, subtask.name)
        except (SpecError, OSError) as error:
            return _told(refusal_of(error), console)
        except KeyboardInterrupt as error:
            return _told(ending_of(error, subtask.name, interrupted=True), console)
        folder = subtask.results_of(loaded.spec)
        console.tell(f"ddetr {subtask.name}: {source.name} -> {folder}")
        with RunRecord(folder, subtask.hold, is_first=launch.is_first) as record:
            run = Run(folder, console, (console.observe, record.observe), launch)
            with last_word(partial(_end_from_outside, subtask.name, run, record)):
                ending = _attempt(subtask, loaded, run, record, interrupts)
                return replace(_close(ending, console, record), folder=folder)


def _told(ending: Ending, console: RunConsole) -> Ending:
    """Say why a run ends that has no record yet."""
    console.fail(ending.message)
    if ending.state == "FAILURE" and ending.error is not None:
        console.show_cause(ending.error)
    return ending


def _attempt(
    subtask: Subtask[Spec],
    loaded: LoadedSpec[Spec],
    run: Run,
    record: RunRecord,
    interrupts: Interrupts,
) -> Ending:
    """Prepare, open the record, work; say how it ended.

    The record opens between the two phases: earlier, a refused run would overwrite the spec and
    status of the run before it; later, a run that dies at work would leave no trace.
    """
    secret = _secret_of(loaded.spec)
    with RunLog(run.notice, secret) as log, screen_log(run.console, secret):
        try:
            record.claim()  # first: a folder in use is known before data are read for minutes
            _tell_notices(loaded, run, secret)
            work = subtask.prepare(loaded.spec, run)
            if isinstance(work, Done):
                text = f"{subtask.name} has nothing left to do"
                return Ending("SUCCESS", EXIT_SUCCESS, text, {}, work.result)
            if not isinstance(work, RecordedWork):
                work = RecordedWork(work, loaded.spec, lambda: _nothing)
            text = _heading(subtask.name) + spec_yaml(work.spec)
            record.open(subtask.name, text, work.make_way, typed_command([secret]))
            log.open(run.results_dir / _log_name(run.launch))
            done = work.work()
            done = done if isinstance(done, Done) else Done(done)
            text = f"{subtask.name} is done"
            return Ending("SUCCESS", EXIT_SUCCESS, text, done.figures, done.result)
        except BaseException as error:
            interrupts.ignore()  # a second Ctrl+C must not cut the last line of status.json
            ending = ending_of(error, subtask.name, interrupted=interrupts.received is not None)
            message = masked(ending.message, [secret]) + _where(run.launch, ending)
            if ending.exit_status == EXIT_FAILURE and record.is_open:
                message = f"{message}; {log.keep_traceback(error)}"
            has_no_file = ending.exit_status == EXIT_FAILURE and not record.is_open
            if has_no_file or current_output().debug:
                run.console.show_traceback(log.traceback_of(error))
            return replace(ending, message=message)
        finally:
            run.console.close()


def _where(launch: Launch, ending: Ending) -> str:
    """Name the machine where several work: what one lacks, the others may have."""
    is_told = launch.on_several_nodes and ending.exit_status == EXIT_BAD_INPUT
    return f" (on node {platform.node()})" if is_told else ""


def _tell_notices(loaded: LoadedSpec[Spec], run: Run, secret: str | None) -> None:
    for text in loaded.notices:
        run.notice(text)
    if run.launch.notice is not None:
        run.notice(run.launch.notice)
    if hand_on_by_environment(secret):
        run.notice(NOTICE)


def _close(ending: Ending, console: RunConsole, record: RunRecord) -> Ending:
    """Tell how the run ended, on the screen and in the last line of an open record."""
    if not record.is_ending_first():
        return ending
    fault: OSError | None = None
    try:
        record.close(ending.state, ending.message, ending.figures)
    except OSError as error:
        fault = error
    console.deliver(message=ending.message, metrics=dict(ending.figures))
    if ending.exit_status != EXIT_SUCCESS:
        console.fail(ending.message)
    if fault is None:
        return ending
    console.fail(sentence(fault))
    if ending.exit_status != EXIT_SUCCESS:
        return ending
    return replace(ending, state="FAILURE", exit_status=EXIT_FAILURE, error=fault)


def _end_from_outside(task: str, run: Run, record: RunRecord, kept: str) -> str:
    """Tell how a run ended whose work is stuck, in another thread than that."""
    message = f"{task} was interrupted: {kept}" if kept else f"{task} was interrupted"
    run.console.close()
    _close(Ending("INTERRUPTED", EXIT_INTERRUPTED, message), run.console, record)
    run.console.end(EXIT_INTERRUPTED)
    return message


def _nothing() -> None:
    """Take back nothing."""


def _heading(task: str) -> str:
    return f"# What ddetr {task} {__version__} ran with: the file, the overrides, the defaults.\n"


def _log_name(launch: Launch) -> str:
    return "run.log" if launch.is_first else f"run-{launch.name}.log"


def _secret_of(spec: BaseModel) -> str | None:
    return spec.passphrase if isinstance(spec, Experiment) else None
