"""How exported files reach the disk."""

from __future__ import annotations

import pytest

from ddetr_export.onnx import locked, read_model, write_model


def test_a_folder_that_is_a_file_is_named(tmp_path) -> None:
    """The error names the file to write, not one beside it."""
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(OSError, match=r"'.*/folder/model\.onnx'"):
        write_model(tmp_path / "folder" / "model.onnx", b"new", None)


def test_with_a_key_the_content_is_locked(tmp_path) -> None:
    """Without one it stays as it is."""
    assert locked(b"weights", None) == b"weights"
    write_model(tmp_path / "m.onnx.enc", b"weights", "open sesame")
    assert b"weights" not in (tmp_path / "m.onnx.enc").read_bytes()
    assert read_model(tmp_path / "m.onnx.enc", "open sesame") == b"weights"
