"""How exported files reach the disk."""

from __future__ import annotations

import pytest

from ddetr_export.onnx import (
    is_onnx,
    locked,
    plain_name,
    read_model,
    stored_path,
    write_model,
    written_path,
)

ONNX_START = b"\x08\x07"


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


def test_an_etlt_keeps_its_name(tmp_path) -> None:
    """Encrypted with a key, plain without one; read back under that very name."""
    # fault 45
    for key in ("open sesame", None):
        path = tmp_path / "m.etlt"
        assert written_path(path, key) == plain_name(path) == path
        assert is_onnx(path)
        write_model(path, ONNX_START + b"weights", key)
        assert (b"weights" in path.read_bytes()) == (key is None)
        assert read_model(path, key) == ONNX_START + b"weights"


def test_an_etlt_that_another_program_has_locked_is_told(tmp_path) -> None:
    """TAO's own cannot be opened here."""
    # fault 45
    path = tmp_path / "m.etlt"
    path.write_bytes(b"\x06\0\0\0inputs" + bytes(range(100)))
    with pytest.raises(ValueError, match="TAO's own"):
        read_model(path, "open sesame")


def test_a_name_finds_what_a_key_has_made_of_it(tmp_path) -> None:
    """A script's next line names the file as it asked for it."""
    # fault 45
    named = tmp_path / "m.onnx"
    write_model(written_path(named, "key"), ONNX_START, "key")
    assert stored_path(named, "key") == tmp_path / "m.onnx.enc"
    assert stored_path(named, None) == named
    named.write_bytes(ONNX_START)
    assert stored_path(named, "key") == named
