"""One subtask from its spec to its exit status, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

from pydantic import BaseModel

from ddetr_cli.__about__ import __version__
from ddetr_cli.running.exit_status import (
    EXIT_BAD_INPUT,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    Ending,
    ending_of,
    sentence,
)
from ddetr_cli.running.run_log import Journal
from ddetr_cli.spec import (
    NOTICE,
    Experiment,
    LoadedSpec,
    Spec,
    SpecError,
    hide_passphrase,
    load_spec,
    spec_yaml,
)
from ddetr_cli.terminal import Interrupts, RunConsole, StatusFile
from ddetr_data.detection import Observer, RunEvent
from ddetr_data.files import write_whole
from ddetr_train.process import FolderInUseError, Launch, LaunchError, current_launch

SPEC_FILE = "experiment.yaml"


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
        """Hand an event to the console and to status.json."""
        for observer in self.observers:
            observer(event)

    def notice(self, text: str) -> None:
        """Say what the person should know although nothing failed."""
        self.report(RunEvent("notice", text))


@dataclass(frozen=True)
class Subtask(Generic[Spec]):
    """A subtask of the command line.

    `check` finds what is missing without loading anything heavy; `execute` does the work and
    gives the figures that belong in the last line of status.json. `hold` is entered before the
    first file is written into the results folder and left after the last. `by_hand` is set where
    MASTER_ADDR and NODE_RANK spread the work over machines.
    """

    name: str
    spec_model: type[Spec]
    results_of: Callable[[Spec], Path]
    check: Callable[[Spec], None]
    execute: Callable[[Spec, Run], Mapping[str, float]]
    hold: Callable[[Path], AbstractContextManager[object]] = nullcontext
    by_hand: bool = False


def run_subtask(subtask: Subtask[Spec], spec_file: Path, overrides: Sequence[str] = ()) -> int:
    """Run a subtask and give its exit status; it raises nothing, a fault is its last sentence."""
    try:
        launch = current_launch(by_hand=subtask.by_hand)
    except LaunchError as error:
        RunConsole().fail(sentence(error))
        return EXIT_BAD_INPUT
    console = RunConsole(quiet=not launch.is_first)
    with ExitStack() as held, Interrupts() as interrupts:
        try:
            loaded = load_spec(subtask.spec_model, spec_file, overrides, subtask.name)
            folder = subtask.results_of(loaded.spec)
            with _named_in_errors(folder):
                held.enter_context(subtask.hold(folder))
                status = _write_first_files(folder, subtask.name, loaded.spec, launch)
        except (SpecError, FolderInUseError, OSError) as error:
            console.fail(sentence(error))
            return EXIT_BAD_INPUT
        except KeyboardInterrupt:
            console.fail(f"{subtask.name} was interrupted")
            return EXIT_INTERRUPTED
        observers = (console.observe,) if status is None else (console.observe, status.observe)
        console.say(f"ddetr {subtask.name}: {spec_file.resolve()} -> {folder}")
        ending = _execute(subtask, loaded, Run(folder, console, observers, launch), interrupts)
        return _close(ending, console, status)


def _close(ending: Ending, console: RunConsole, status: StatusFile | None) -> int:
    """Tell how the run ended, on the screen and in its last line of status.json."""
    if ending.exit_status != EXIT_SUCCESS:
        console.fail(ending.message)
    if status is not None:
        try:
            status.write(ending.state, ending.message, kpi=ending.figures)
        except OSError as error:
            console.fail(sentence(error))
            return ending.exit_status or EXIT_FAILURE
    return ending.exit_status


def _execute(
    subtask: Subtask[Spec], loaded: LoadedSpec[Spec], run: Run, interrupts: Interrupts
) -> Ending:
    secret = _secret_of(loaded.spec)
    log = run.results_dir / ("run.log" if run.is_main_process else f"run-{run.launch.name}.log")
    with Journal(log, run.notice, secret) as journal:
        try:
            for text in (*loaded.notices, *([run.launch.notice] if run.launch.notice else ())):
                run.notice(text)
            if hide_passphrase(secret):
                run.notice(NOTICE)
            subtask.check(loaded.spec)
            figures = subtask.execute(loaded.spec, run)
            return Ending("SUCCESS", EXIT_SUCCESS, f"{subtask.name} is done", figures)
        except BaseException as error:
            interrupts.ignore()
            ending = ending_of(error, subtask.name, interrupted=interrupts.received is not None)
            message = ending.message.replace(secret, "***") if secret else ending.message
            if ending.exit_status == EXIT_FAILURE:
                message = f"{message}; {journal.keep_traceback(error)}"
            return replace(ending, message=message)
        finally:
            run.console.close()


@contextmanager
def _named_in_errors(folder: Path) -> Iterator[None]:
    """Let the text of an OSError say which key names the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"results_dir {folder} cannot be written ({reason}); set another") from error


def _write_first_files(
    folder: Path, task: str, spec: BaseModel, launch: Launch
) -> StatusFile | None:
    """Make the results folder, keep the resolved spec in it and start its status file.

    Only the first process of a run writes; the others get None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not launch.is_first:
        return None
    heading = (
        f"# What ddetr {task} {__version__} ran with: the file, the overrides, the defaults.\n"
    )
    write_whole(folder / SPEC_FILE, heading + spec_yaml(spec))
    status = StatusFile(folder)
    status.write("STARTED", f"{task} starts")
    return status


def _secret_of(spec: BaseModel) -> str | None:
    return spec.passphrase if isinstance(spec, Experiment) else None
