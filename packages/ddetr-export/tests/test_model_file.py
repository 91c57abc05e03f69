"""How exported files reach the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ddetr_export.onnx import locked, read_model, write_files, write_model


@pytest.fixture
def full_disk(monkeypatch):
    """Let every file whose content is b"too much" find no room, after a part of it."""
    write_bytes = Path.write_bytes

    def write(path: Path, content: bytes) -> int:
        written = write_bytes(path, content[:3] if content == b"too much" else content)
        if content == b"too much":
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    monkeypatch.setattr(Path, "write_bytes", write)


def test_files_that_belong_together_are_written_together(tmp_path) -> None:
    """Folders are made, and nothing but the files is left."""
    contents = {tmp_path / "new" / name: name.encode() for name in ("a", "b")}
    write_files(contents)
    assert {path: path.read_bytes() for path in (tmp_path / "new").iterdir()} == contents


def test_a_full_disk_leaves_what_was_there(tmp_path, full_disk) -> None:
    """Neither file changes when the second finds no room, and the error names that one."""
    model, certificate = tmp_path / "model.onnx", tmp_path / "model.certificate.json"
    model.write_bytes(b"old")
    with pytest.raises(OSError, match=r"No space left on device: '.*/model\.certificate\.json'"):
        write_files({model: b"new", certificate: b"too much"})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {model: b"old"}


def test_a_folder_that_is_a_file_is_named(tmp_path) -> None:
    """The error names the file to write, not one beside it."""
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(OSError, match=r"'.*/folder/model\.onnx'"):
        write_model(tmp_path / "folder" / "model.onnx", b"new", None)


def test_with_a_key_the_content_is_locked(tmp_path, cheap_scrypt) -> None:
    """Without one it stays as it is."""
    assert locked(b"weights", None) == b"weights"
    write_model(tmp_path / "m.onnx.enc", b"weights", "open sesame")
    assert b"weights" not in (tmp_path / "m.onnx.enc").read_bytes()
    assert read_model(tmp_path / "m.onnx.enc", "open sesame") == b"weights"
