"""Encrypted files: what goes in comes out, and nothing else does."""

from __future__ import annotations

import hashlib
import io
import os
import sys

import pytest

from ddetr_data.files import (
    CHUNK_BYTES,
    DamagedFileError,
    EncryptionError,
    NotEncryptedError,
    WrongKeyError,
    decrypt,
    encrypting,
    is_encrypted,
    model_source,
    opened,
)

KEY = "a passphrase with spaces and ümlauts"
CHEAP = 4  # log2 of scrypt's n: the passphrase guards nothing here
SUM_BYTES = 8  # of SHA-256 over the header, which ends with them


def locked(content: bytes, key: str = KEY) -> bytes:
    target = io.BytesIO()
    with encrypting(target, key, scrypt_log2_n=CHEAP) as writer:
        for start in range(0, len(content), 300_000):
            writer.write(content[start : start + 300_000])
    return target.getvalue()


def unlocked(data: bytes, key: str = KEY) -> bytes:
    return decrypt(io.BytesIO(data), key, "the file").getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_content_of_any_size_comes_back(size: int) -> None:
    """Whole, partial and empty last chunks are read as they were written."""
    content = os.urandom(size)
    assert unlocked(locked(content)) == content


def test_the_same_content_never_looks_the_same() -> None:
    """Salt and nonce are new in every file."""
    assert locked(b"weights") != locked(b"weights")


def test_another_key_is_told_from_damage() -> None:
    """A whole file that the key does not open says so."""
    with pytest.raises(WrongKeyError, match="another one was used"):
        unlocked(locked(b"weights"), "another")


@pytest.mark.parametrize("index", [10, 20, 45, 60, 100, -1])
def test_a_changed_byte_is_damage(index: int) -> None:
    """In the header, in the content or in the tag: every byte counts."""
    data = bytearray(locked(b"weights" * 20))
    data[index] ^= 1
    with pytest.raises(DamagedFileError, match="the file is damaged"):
        unlocked(bytes(data))


@pytest.mark.parametrize("length", [20, 63, 70, CHUNK_BYTES + 500, -1])
def test_a_file_cut_short_is_damage(length: int) -> None:
    """Also when it is cut between two chunks."""
    with pytest.raises(DamagedFileError):
        unlocked(locked(os.urandom(2 * CHUNK_BYTES))[:length])


def test_a_cut_between_chunks_is_damage() -> None:
    """The last chunk is marked, so a whole chunk cannot go missing."""
    data = locked(os.urandom(2 * CHUNK_BYTES))
    header = len(locked(b"")) - 16
    with pytest.raises(DamagedFileError):
        unlocked(data[: header + CHUNK_BYTES + 16])


def test_exchanged_chunks_are_damage() -> None:
    """Chunks are numbered."""
    data = locked(os.urandom(3 * CHUNK_BYTES))
    start, chunk = len(locked(b"")) - 16, CHUNK_BYTES + 16
    first, second = data[start : start + chunk], data[start + chunk : start + 2 * chunk]
    with pytest.raises(DamagedFileError):
        unlocked(data[:start] + second + first + data[start + 2 * chunk :])


def test_a_plain_file_is_not_encrypted(tmp_path) -> None:
    """Decrypting something else names the reason."""
    with pytest.raises(NotEncryptedError, match="is not encrypted"):
        unlocked(b"plain text, long enough to be taken for a header of some kind, or so it hopes")
    plain = tmp_path / "plain"
    plain.write_bytes(b"plain")
    assert not is_encrypted(plain)


def test_a_file_is_read_with_its_key_alone(tmp_path) -> None:
    """Without a key the sentence says where to give it; with it the content is there."""
    path = tmp_path / "model"
    path.write_bytes(locked(b"weights"))
    with (
        pytest.raises(EncryptionError, match="is encrypted: set encryption_key"),
        opened(path, None),
    ):
        pass
    with opened(path, KEY) as file:
        assert file.read() == b"weights"


@pytest.mark.parametrize("content", [b"weights", b""])
@pytest.mark.parametrize("store", [bytes, locked])
def test_plain_and_encrypted_files_open_alike(content, store, tmp_path) -> None:
    """A seekable file from its first byte on, named as its path; a key opens plain files too."""
    path = tmp_path / "model"
    path.write_bytes(store(content))
    with opened(path, KEY) as file:
        assert file.read() == content
        file.seek(0)
        assert file.read() == content
        assert str(file.name) == str(path)
    assert file.closed


def test_a_model_is_read_from_a_file_or_a_folder(tmp_path) -> None:
    """A folder is named, a file opened, and what is missing says so."""
    (tmp_path / "model").write_bytes(b"weights")
    with model_source(tmp_path, None) as source:
        assert source == tmp_path
    with model_source(tmp_path / "model", None) as source:
        assert source.read() == b"weights"
    with pytest.raises(FileNotFoundError, match="nowhere"), model_source(tmp_path / "nowhere", KEY):
        pass


def test_a_header_cannot_ask_for_endless_work() -> None:
    """A header whose sum is right but whose scrypt would take all memory is refused."""
    data = bytearray(locked(b"weights"))
    header = len(locked(b"")) - 16
    data[9] = 60
    body = bytes(data[: header - SUM_BYTES])
    summed = body + hashlib.sha256(body).digest()[:SUM_BYTES]
    with pytest.raises(DamagedFileError, match="unlikely work"):
        unlocked(summed + bytes(data[header:]))


def test_without_cryptography_one_sentence_says_what_to_install(monkeypatch) -> None:
    """The extra is named; nothing else of the package needs it."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.kdf.scrypt", None)
    with pytest.raises(EncryptionError, match=r"install ddetr-data\[crypto\]"):
        locked(b"weights")
