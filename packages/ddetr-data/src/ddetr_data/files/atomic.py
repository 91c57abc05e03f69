"""Write files so that each one appears whole or not at all: the one way to write a result.

Everything is written beside its target and renamed: a kill, an error or a full disk leaves what was
there before. Leftovers of killed runs are removed by the next one that writes in the same folder.

With `sync` a file's bytes, and then its name, are on the disk before the call returns. Without it
a power cut may leave the new name with no bytes behind it, which no rename prevents; that is for
files by the thousand, such as label files, where each would wait for the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ddetr_data.files._drafts import Draft, is_draft, sync_folder
from ddetr_data.files._drafts import remove_leftovers as remove_leftovers
from ddetr_data.files.regular import STREAM_FOLDERS

Content: TypeAlias = str | bytes | Callable[[BinaryIO], object]  # a function writes it to a file

_STAGING_NAME = ".unfinished"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: str | os.PathLike[str], content: Content, *, sync: bool = True) -> None:
    """Write a file, making its folder.

    Args:
        path: where to; a device or a pipe is written to as it is.
        content: text, written as UTF-8; bytes; or a function that is given the open file.
        sync: as this module says.

    Raises:
        OSError: it cannot be written; the error names the file, and what was there still is.
    """
    with replacing(path, sync=sync) as draft:
        _fill(draft, content)


def write_all(contents: Mapping[Path, Content], *, sync: bool = True) -> None:
    """Write all files or none: none gets its name before the last one is whole.

    Raises:
        OSError: a file cannot be written; the error names it.
    """
    with replacing_all(list(contents), sync=sync) as drafts:
        for (path, content), draft in zip(contents.items(), drafts, strict=True):
            with naming(path):
                _fill(draft, content)


@contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[Path]:
    """Give the path of a draft to write to, which is renamed to `path` when the block succeeds.

    Raises:
        OSError: as write_whole; one of the block that names no file gets this one's name.
    """
    with replacing_all([Path(path)], sync=sync) as (draft,), naming(path):
        yield draft


@contextmanager
def replacing_all(paths: Sequence[Path], *, sync: bool = True) -> Iterator[list[Path]]:
    """As `replacing`, for files that belong together; errors of the block stay as they are."""
    with ExitStack() as stack:
        drafts = {path: _begun(path, stack, sync) for path in paths if not _is_stream(path)}
        yield [drafts[path].path if path in drafts else path for path in paths]
        written = drafts.values()
        for draft in written if sync else ():
            with naming(draft.target):
                draft.sync()
        for draft in written:
            with naming(draft.target):
                draft.publish()
        for folder in {draft.target.parent for draft in written} if sync else ():
            with naming(folder):
                sync_folder(folder)


@contextmanager
def staged(folder: Path, is_stale: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """Give a folder to write in, and move its files to `folder` when the block succeeds.

    Files of `folder` whose name is_stale and that were not written anew are removed then. When the
    block fails, or is interrupted, `folder` stays as it was. One run at a time may use a folder.

    Raises:
        OSError: the folder cannot be written, or the disk is full; it names the folder.
    """
    staging = folder / _STAGING_NAME
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    staging.mkdir(parents=True)
    try:
        with naming(folder):
            yield staging
        written = sorted(path.name for path in staging.iterdir())
        for name in written:
            _sync(staging / name)
        for name in written:
            os.replace(staging / name, folder / name)
        for path in sorted(folder.iterdir()):
            if path.name not in written and path.is_file() and is_stale(path.name):
                path.unlink()
        sync_folder(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write in that becomes `folder` when the block succeeds.

    A folder that has appeared there meanwhile stays, and what was written is dropped. Nothing is
    synced: whoever reads such a folder must see by himself whether its files are whole.

    Raises:
        OSError: the folder cannot be written.
    """
    with closing(Draft(folder, is_folder=True)) as draft:
        yield draft.path
        try:
            draft.publish()
        except OSError:
            if not folder.exists():
                raise


def discard_folder(folder: Path) -> None:
    """Remove a folder so that nobody sees a part of it; who has its files open keeps them.

    Raises:
        OSError: it cannot be moved away.
    """
    with closing(Draft(folder, is_folder=True)) as draft:
        folder.rename(draft.path / folder.name)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the path in an error that names none, as that of a full disk, or names a draft.

    The disk's own error is told, too, where a library has made another one of it.
    """
    try:
        yield
    except OSError as error:
        is_of_a_draft = is_draft(error.filename) or is_draft(error.filename2)
        if error.errno is None or not (error.filename is None or is_of_a_draft):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except Exception as error:
        cause = error.__context__
        if not isinstance(cause, OSError) or cause.errno not in _NO_ROOM:
            raise
        raise OSError(cause.errno, cause.strerror, os.fspath(path)) from error


def _begun(path: Path, stack: ExitStack, sync: bool) -> Draft:
    try:
        return stack.enter_context(closing(Draft(path, among_many=not sync)))
    except FileExistsError as error:  # where a folder should be
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _fill(path: Path, content: Content) -> None:
    # A draft is readable too: libtiff looks back at what it wrote. A pipe cannot be.
    with path.open("w+b" if is_draft(path) else "wb") as file:
        if isinstance(content, str):
            file.write(content.encode())
        elif isinstance(content, bytes):
            file.write(content)
        else:
            content(file)


def _is_stream(path: Path) -> bool:
    """Whether it cannot be renamed to: a device, a pipe, or another name for an open file."""
    if os.path.abspath(path.parent) in STREAM_FOLDERS:
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
