"""Files and folders that are not finished yet: named, locked while written, removed after a kill.

A draft lies in the folder of its target, so that a rename is all that is left to do. Its name is
short, since the target's own may be as long as names can be, and it is locked while its process
lives: an unlocked draft is the leftover of a run that was killed. Where there are no locks
(Windows, some disks of a network) nothing is taken for a leftover.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NAME = re.compile(r"\.ddetr-[0-9a-f]{16}\.part")
_FOLDERS = 4096  # that this process has looked through, at most
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # disks of a network that know no sync of folders


class Draft:
    """An unfinished file or folder beside its target; leftovers of killed runs there are removed.

    Args:
        target: the path that the draft is renamed to; its folder is made.
        is_folder: else it is a file.
        among_many: look for leftovers once a process: the folder may hold 100,000 label files.

    Raises:
        OSError: nothing can be written there; the error names the draft.
    """

    def __init__(self, target: Path, *, is_folder: bool = False, among_many: bool = False) -> None:
        self.target = target
        self._is_folder, self._is_published = is_folder, False
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = os.path.abspath(target.parent)
        _remove_leftovers_once(folder, os.getpid()) if among_many else remove_leftovers(folder)
        self.path, self._handle = _begin_folder(target) if is_folder else _begin_file(target)
        if not is_folder:
            self._take_mode()

    def sync(self) -> None:
        """Wait until the bytes of a file are on the disk."""
        if self._handle is not None:
            os.fsync(self._handle)

    def publish(self) -> None:
        """Rename to the target; a folder only where there is none."""
        if fcntl is None:
            self._let_go()  # Windows renames no open file
        if self._is_folder:
            self.path.rename(self.target)
        else:
            os.replace(self.path, self.target)
        self._is_published = True  # its name may be another draft's from now on

    def close(self) -> None:
        """Remove what was not published."""
        if self._is_folder and not self._is_published:
            shutil.rmtree(self.path, ignore_errors=True)
        elif not self._is_published:
            with suppress(OSError):  # what stopped the writing is the error to tell
                self.path.unlink(missing_ok=True)
        self._let_go()

    def _take_mode(self) -> None:
        """Keep the mode of a file that is replaced, as `open` would; its owner may write it."""
        with suppress(OSError):  # there is none yet, or the disk knows no modes
            mode = stat.S_IMODE(os.stat(self.target).st_mode)
            os.chmod(self.path, mode | stat.S_IWUSR)

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def is_draft(path: object) -> bool:
    """Whether a path is named as drafts are."""
    return isinstance(path, (str, os.PathLike)) and bool(_NAME.fullmatch(Path(path).name))


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the drafts in a folder that no living process writes."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with suppress(OSError):  # it is locked, or another's
                    _remove_unlocked(entry.path, is_folder=entry.is_dir())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where there is a way to ask for it."""
    if fcntl is None:  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


@lru_cache(_FOLDERS)
def _remove_leftovers_once(folder: str, process: int) -> None:
    del process  # that asks: a forked one has not looked yet
    remove_leftovers(folder)


def _begin_file(target: Path) -> tuple[Path, int]:
    """Make a draft named after its target, or of any name while another process writes that.

    So the next who writes a file removes what was left of it, wherever it looked before.
    """
    name = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    path = target.with_name(f".ddetr-{name}.part")
    with suppress(OSError):  # there is none, it is locked, or another's
        _remove_unlocked(path, is_folder=False)
    while True:
        with suppress(FileExistsError):
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if _is_kept(path, handle):
                return path, handle
        path = _random_path(target.parent)


def _begin_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        path = _random_path(target.parent)
        path.mkdir()
        if fcntl is None:  # Windows opens no folders
            return path, None
        handle = os.open(path, os.O_RDONLY)
        if _is_kept(path, handle):
            return path, handle


def _random_path(folder: Path) -> Path:
    return folder / f".ddetr-{os.urandom(8).hex()}.part"


def _lock(handle: int) -> bool | None:
    """Lock a draft; False where another process has it locked, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk of a network, on which nobody removes leftovers either
        return None
    return True


def _is_kept(path: Path, handle: int) -> bool:
    """Lock a new draft; close it and give False where another process removed it as a leftover."""
    if _lock(handle) is not False:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return True
    os.close(handle)
    return False


def _remove_unlocked(path: str | Path, *, is_folder: bool) -> None:
    """Remove a draft that nobody holds a lock on, unless it was published meanwhile."""
    if fcntl is None:
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        if not _lock(handle) or not os.path.samestat(os.stat(path), os.fstat(handle)):
            return
        if is_folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    finally:
        os.close(handle)
