"""Exported models as files, plain or encrypted: their names, reading them and writing them."""

from __future__ import annotations

import io
from pathlib import Path

from ddetr_data.files import NotEncryptedError, encrypting, is_encrypted, opened, write_whole

ENCRYPTED_SUFFIX = ".enc"
# TAO's name of an ONNX file that may be encrypted; it is never changed.
ETLT_SUFFIX = ".etlt"
ONNX_SUFFIXES = frozenset({".onnx", ETLT_SUFFIX})
ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})

ONNX_START = b"\x08"  # ir_version, the first field of an ONNX file


def written_path(path: Path, encryption_key: str | None) -> Path:
    """Give the name under which a model is written: with a key, `.enc` is added, save to `.etlt`.

    Raises:
        ValueError: the name says that it is encrypted and there is no key.
    """
    if path.suffix.lower() == ETLT_SUFFIX:
        return path
    if path.suffix != ENCRYPTED_SUFFIX:
        return path if encryption_key is None else path.with_name(path.name + ENCRYPTED_SUFFIX)
    if encryption_key is None:
        raise ValueError(f"{path} ends in {ENCRYPTED_SUFFIX}, but no encryption_key is set")
    return path


def stored_path(path: Path, encryption_key: str | None) -> Path:
    """Give the file that a name stands for: itself, or what writing with a key has made of it."""
    if encryption_key is None or path.exists():
        return path
    written = written_path(path, encryption_key)
    return written if written.is_file() else path


def plain_name(path: Path) -> Path:
    """The name without the `.enc` of an encrypted file."""
    return path.with_suffix("") if path.suffix == ENCRYPTED_SUFFIX else path


def beside(path: Path, ending: str) -> Path:
    """Name a file beside model.onnx or model.onnx.enc: model and the ending."""
    return plain_name(path).with_suffix(ending)


def is_engine(path: Path) -> bool:
    """Whether the name is one of a TensorRT engine, encrypted or not."""
    return plain_name(path).suffix.lower() in ENGINE_SUFFIXES


def is_onnx(path: Path) -> bool:
    """Whether the name is one of an ONNX file, encrypted or not."""
    return plain_name(path).suffix.lower() in ONNX_SUFFIXES


def read_model(path: Path, encryption_key: str | None, wanted: str = "model") -> bytes:
    """Read a model; of an encrypted one nothing reaches the disk in clear.

    Args:
        path: The file; a plain one is read with or without a key.
        encryption_key: The passphrase.
        wanted: What the file is called in an error.

    Raises:
        FileNotFoundError: there is no such file.
        EncryptionError: it is encrypted and the key is absent, wrong, or the file is damaged; or
            its name says that it is encrypted and it is not.
        ValueError: it is an .etlt that TAO itself has encrypted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {wanted} at {path}; mend the path")
    if path.suffix == ENCRYPTED_SUFFIX and not is_encrypted(path):
        raise NotEncryptedError(
            f"{path} is not encrypted although its name says so: give it the name "
            f"{path.stem}, or export it again with encryption_key"
        )
    with opened(path, encryption_key) as file:
        content = file.read()
    if path.suffix.lower() == ETLT_SUFFIX and not content.startswith(ONNX_START):
        raise ValueError(
            f"{path} is neither plain ONNX nor encrypted by ddetr export: TAO's own .etlt files "
            "cannot be opened here, export the checkpoint again"
        )
    return content


def write_model(path: Path, content: bytes, encryption_key: str | None) -> None:
    """Write whole or not at all; with a key no byte of content reaches the disk in clear."""
    write_whole(path, locked(content, encryption_key))


def locked(content: bytes, encryption_key: str | None) -> bytes:
    """The content encrypted, or as it is without a key."""
    if encryption_key is None:
        return content
    target = io.BytesIO()
    with encrypting(target, encryption_key) as writer:
        writer.write(content)
    return target.getvalue()
