"""Files that a release reads and writes: UTF-8, with the ends of line that they have."""

from __future__ import annotations

from pathlib import Path

from releasing.programs import ReleaseError


def read_text(path: Path) -> str:
    """Read a file.

    Raises:
        ReleaseError: it is not UTF-8.
    """
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from None


def write_text(path: Path, text: str) -> None:
    """Write a file with the ends of line that it has.

    Raises:
        ReleaseError: it is a link; what that names may lie anywhere.
    """
    refuse_link(path)
    newline = "\r\n" if path.exists() and b"\r\n" in path.read_bytes() else "\n"
    path.write_text(text, "utf-8", newline=newline)


def refuse_link(path: Path) -> None:
    """Refuse to write through a symbolic link."""
    if path.is_symlink():
        raise ReleaseError(f"{path.name} of {path.parent.name} is a link: put a file there")
