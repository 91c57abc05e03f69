"""What a run leaves of itself in its results folder: experiment.yaml and status.json."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from ddetr_cli.terminal import State, StatusFile
from ddetr_data.detection import RunEvent
from ddetr_data.files import write_whole

SPEC_FILE = "experiment.yaml"

Hold = Callable[[Path], AbstractContextManager[object]]


class RunRecord:
    """Nothing until it is opened, which is when all that can refuse the run has been checked.

    Events of before are kept in mind and written when it opens. Only the first process of a run
    writes; the others have the folder alone.
    """

    def __init__(self, folder: Path, hold: Hold, *, is_first: bool) -> None:
        """Take note of the folder, and make none.

        Args:
            hold: entered before the first file is written, left when the record is.
        """
        self.folder = folder
        self.is_open = False
        self._hold = hold
        self._is_first = is_first
        self._held: ExitStack | None = None
        self._events: list[RunEvent] = []
        self._status: StatusFile | None = None
        self._ends = threading.Lock()  # of the run itself, and of a signal's watch

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def observe(self, event: RunEvent) -> None:
        """Write what a run reports, or keep it until the record opens."""
        if self._status is not None:
            self._status.observe(event)
        elif self._is_first:
            self._events.append(event)

    def claim(self) -> None:
        """Look early whether the folder can be written, and hold it where it is there.

        Raises:
            FolderInUseError: another process holds it.
            OSError: it cannot be written; the text names the key to change.
        """
        with _named_in_errors(self.folder):
            _check_writable(self.folder)
            if self.folder.is_dir():
                self._take_hold()

    def open(
        self,
        task: str,
        spec_text: str,
        make_way: Callable[[], Callable[[], None]] | None = None,
        command: str | None = None,
    ) -> None:
        """Make the folder, keep the spec in it and begin its status: all of it or nothing.

        Args:
            task: the subtask.
            spec_text: what it runs with.
            command: the line that asked for it, without secrets.
            make_way: called by the first process before anything is written; it gives what is
                called where that fails.

        Raises:
            FolderInUseError: another process holds the folder.
            OSError: it cannot be written, or the disk is full; the folder is as it was.
        """
        made = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        with _named_in_errors(self.folder):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._take_hold()
                if self._is_first:
                    take_back = make_way() if make_way is not None else None
                    self._status = self._begin(task, spec_text, take_back, command)
            except BaseException:
                self._let_go()
                _remove_empty(made)
                raise
        self.is_open = True

    def is_ending_first(self) -> bool:
        """Say once that nobody else has told yet how the run ended."""
        return self._ends.acquire(blocking=False)

    def close(self, state: State, message: str, figures: Mapping[str, float]) -> None:
        """Write how the run ended; nothing where it never began.

        Raises:
            OSError: the disk is full.
        """
        if self._status is not None:
            self._status.write(state, message, kpi=figures)

    def _begin(
        self,
        task: str,
        spec_text: str,
        take_back: Callable[[], None] | None,
        command: str | None,
    ) -> StatusFile:
        path = self.folder / StatusFile.NAME
        size = path.stat().st_size if path.is_file() else None
        try:
            status = StatusFile(self.folder)
            status.write("STARTED", f"{task} starts", command=command)
            for event in self._events:
                status.observe(event)
            write_whole(self.folder / SPEC_FILE, spec_text)
        except BaseException:
            _cut_to(path, size)
            if take_back is not None:
                take_back()
            raise
        return status

    def _take_hold(self) -> None:
        if self._held is None:
            with ExitStack() as entered:
                entered.enter_context(self._hold(self.folder))
                self._held = entered.pop_all()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


@contextmanager
def _named_in_errors(folder: Path) -> Iterator[None]:
    """Let the text of an OSError say which key names the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"results_dir {folder} cannot be written ({reason}); set another") from error


def _check_writable(folder: Path) -> None:
    """Ask the folder, or the nearest one around it, without writing."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))


def _cut_to(path: Path, size: int | None) -> None:
    """Take back what was appended to a file; None: there was no file."""
    with suppress(OSError):
        if size is None:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, size)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that were made for nothing, the innermost first."""
    for folder in folders:
        with suppress(OSError):  # another run has come to use it
            folder.rmdir()
