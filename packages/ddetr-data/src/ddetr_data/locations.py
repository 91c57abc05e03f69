"""Files on this machine and behind URLs (s3://, memory://, https:// ...), read in the same way.

A file of this machine is a Path and nothing is added to its cost; URLs are left to fsspec.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from ddetr_data.extras import InstallHint, MissingExtraError
from ddetr_data.faults import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_HERE = re.compile(r"(^|/)(?:\./)+")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")  # s3, abfs, gcs, memory


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL; where it lies and, once fetched, what it holds."""

    url: str
    content: bytes | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's ending, with its dot."""
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Read all of it.

        Raises:
            FileNotFoundError: it is not there.
            DataError: it cannot be reached, or what reads such URLs is not installed.
        """
        if self.content is not None:
            return self.content
        filesystem, path = _open_filesystem(self.url)
        try:
            content: bytes = filesystem.cat_file(path)
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(f"{self.url} is missing") from None
        except Exception as error:  # every file system has errors of its own
            raise DataError(f"{self.url} cannot be read: {error}") from error
        return content


AnyFile: TypeAlias = Path | RemoteFile


def is_url(location: str | os.PathLike[str]) -> bool:
    """Tell protocol://path, and chains such as filecache::s3://path, from a path."""
    return "://" in str(location)


def join(folder: str, name: str) -> AnyFile:
    """Name a file below a folder or a URL; an absolute name of this machine stands for itself."""
    if is_url(folder):
        plain = _HERE.sub(r"\1", name)  # behind a URL "./a.jpg" would be another file than "a.jpg"
        return RemoteFile(f"{folder.rstrip('/')}/{plain.lstrip('/')}")
    return Path(folder, name)


def fetched(file: AnyFile) -> AnyFile:
    """Read a remote file once for several looks; a local one stays as it is."""
    return replace(file, content=file.read_bytes()) if isinstance(file, RemoteFile) else file


def exists(file: AnyFile) -> bool:
    """Whether something lies there; a name that no file can have does not exist."""
    if isinstance(file, Path):
        return os.path.exists(file)
    filesystem, path = _open_filesystem(file.url)
    return bool(_asked(filesystem.exists, path, file.url))


def is_folder(location: str) -> bool:
    """Whether a folder lies there."""
    if not is_url(location):
        return os.path.isdir(location)
    filesystem, path = _open_filesystem(location)
    return bool(_asked(filesystem.isdir, path, location))


def absolute(location: str) -> str:
    """Write a path from the root, and leave a URL as it is."""
    return location if is_url(location) else os.path.abspath(location)


def list_states(url: str) -> dict[str, tuple[float, float]]:
    """Size in bytes and time of change (0: unknown) of the files in a folder behind a URL."""
    filesystem, path = _open_filesystem(url)
    filesystem.invalidate_cache()  # fsspec keeps listings, and this asks for what is there now
    try:
        found = _asked(lambda at: filesystem.ls(at, detail=True), path, url)
    except FileNotFoundError:
        return {}
    return {
        _last_part(entry["name"]): (float(entry.get("size") or 0), _changed_at(entry))
        for entry in found
    }


def match_files(url: str, endings: tuple[str, ...]) -> list[RemoteFile]:
    """The file that a URL names, those of a folder with such an ending, or those a glob fits."""
    filesystem, path = _open_filesystem(url)
    if _asked(filesystem.isfile, path, url):
        return [RemoteFile(url)]
    if _asked(filesystem.isdir, path, url):
        listed = _asked(lambda at: filesystem.ls(at, detail=False), path, url)
        names = sorted(name for name in map(_last_part, listed) if name.endswith(endings))
        return [RemoteFile(f"{url.rstrip('/')}/{name}") for name in names]
    if not glob.has_magic(path):
        return []
    head = url.rstrip("/").removesuffix(path)  # "s3://" of s3://bucket/*.json
    return [RemoteFile(f"{head}{found}") for found in sorted(_asked(filesystem.glob, path, url))]


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _changed_at(entry: Mapping[str, Any]) -> float:
    """The time of change, under whichever name the file system has for it; 0 for none."""
    for name in _TIMES:
        if isinstance(entry.get(name), datetime):
            return float(entry[name].timestamp())
    return 0.0


def _asked(question: Any, path: str, url: str) -> Any:
    """Call a method of a file system; whatever it raises becomes a DataError of one sentence."""
    try:
        return question(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise DataError(f"{url} cannot be reached: {error}") from error


def _open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Find what reads a URL, and the path in it.

    Asked for each time, since a forked process must not use its parent's connections.

    Raises:
        DataError: fsspec, or its part for this protocol, is not installed or does not know it.
    """
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            f"{url} is a URL", InstallHint("remote"), f" and what its protocol needs ({error})"
        ) from error
    except ValueError as error:
        raise DataError(f"{url} is no URL that can be read: {error}") from error
    return filesystem, path
