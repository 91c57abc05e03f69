"""The text of a spec file, which may be a pipe, and is whatever somebody named."""

from __future__ import annotations

import codecs
import os
import time
from pathlib import Path

from ddetr_cli.spec.tree import SpecError
from ddetr_data import DataError
from ddetr_data.files import check_regular, is_open_stream

_PIPE_SECONDS = 10.0  # without a word from whoever writes a named pipe
_LARGEST_FILE_BYTES = 4 * 2**20


def read_spec_text(path: Path) -> str:
    """Read it whole; Unicode as UTF-8, or as UTF-16 where it begins with that mark.

    Raises:
        FileNotFoundError: there is no such file.
        SpecError: it is a device, a silent pipe, too large, or no text.
    """
    if path.is_dir() or not path.exists():
        is_folder = path.is_dir()
        kind = "is a folder" if is_folder else "does not exist"
        advice = "give a file in it" if is_folder else "mend the path, or write one by `ddetr spec`"
        raise FileNotFoundError(
            f"spec file {path} {kind} (current folder: {_current_folder()}); {advice}"
        )
    is_named_pipe = path.is_fifo() and not is_open_stream(path)
    content = _read_pipe(path) if is_named_pipe else _read_file(path)
    if len(content) > _LARGEST_FILE_BYTES:
        raise SpecError(
            f"{path}: a spec must be at most {_LARGEST_FILE_BYTES // 2**20} MiB of YAML, this is "
            "another kind of file; give the spec's"
        )
    return _decoded(content, path)


def _read_file(path: Path) -> bytes:
    if not is_open_stream(path):
        try:
            check_regular(path, "spec file")
        except DataError as error:
            raise SpecError(str(error)) from None
    with path.open("rb") as file:
        return file.read(_LARGEST_FILE_BYTES + 1)


def _read_pipe(path: Path) -> bytes:
    """Read a named pipe to its end, unless nothing comes for some seconds."""
    content, last = b"", time.monotonic()
    # An ordinary open would wait for somebody who writes, and there may be none.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        while len(content) <= _LARGEST_FILE_BYTES:
            part = pipe.read(_LARGEST_FILE_BYTES)  # None: not yet; empty: nobody holds it open
            if part:
                content, last = content + part, time.monotonic()
            elif content and part is not None:
                break
            elif time.monotonic() - last > _PIPE_SECONDS:
                raise SpecError(
                    f"spec file {path} is a pipe into which nobody has written for "
                    f"{_PIPE_SECONDS:g} s; write the spec into it, or give a file"
                )
            else:
                time.sleep(0.02)
    return content


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "it was deleted"


def _decoded(content: bytes, path: Path) -> str:
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{path.name}:{line}: a spec must be UTF-8 text, got the byte "
            f"0x{content[error.start]:02x}; give another file, or save it as UTF-8"
        ) from None
