"""Encrypted files: AES-256-GCM under a key that scrypt makes of a passphrase, in chunks.

Layout, integers big-endian:
  header  8 bytes `DDETRENC`, 1 byte format version (1), 1 byte log2 of scrypt's n, 1 byte r,
          1 byte p, 16 bytes salt, 7 bytes nonce prefix, 16 bytes key check, and the first 8 bytes
          of SHA-256 over all of these.
  chunks  AES-256-GCM of 1 MiB of content each, the last one of less (perhaps nothing), each with
          its 16-byte tag. Nonce: prefix, 4 bytes chunk number, 1 byte that is 1 for the last chunk.
          The header is the associated data.
scrypt gives 64 bytes: 32 for AES and 32 whose SHA-256 begins with the key check, which tells a
wrong key from a damaged file. Needs the extra [crypto].
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from ddetr_data.files.regular import open_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"DDETRENC"
CHUNK_BYTES = 2**20
_VERSION = 1
_SCRYPT_LOG2_N, _SCRYPT_R, _SCRYPT_P = 15, 8, 1  # 32 MiB and about 0.1 s
_MOST_SCRYPT_BYTES = 2**30  # a header that asks for more is not one of ours
_TAG_BYTES = 16
_PARAMETERS = struct.Struct(">8s4B16s7s")
_CHECK_BYTES = 16
_SUM_BYTES = 8
_HEADER_BYTES = _PARAMETERS.size + _CHECK_BYTES + _SUM_BYTES


class EncryptionError(ValueError):
    """An encrypted file cannot be read."""


class NotEncryptedError(EncryptionError):
    """The file is not one of ours that is encrypted."""


class WrongKeyError(EncryptionError):
    """The file is whole, but another passphrase opens it."""


class DamagedFileError(EncryptionError):
    """The file was changed or cut short."""


@dataclass(frozen=True)
class _Cipher:
    header: bytes
    prefix: bytes
    aes: AESGCM

    def nonce(self, number: int, is_last: bool) -> bytes:
        return self.prefix + struct.pack(">IB", number, is_last)


def is_encrypted(path: Path) -> bool:
    """Say whether the file begins as an encrypted one does.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with open_regular(path) as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def encrypting(
    target: BinaryIO, passphrase: str, *, scrypt_log2_n: int = _SCRYPT_LOG2_N
) -> Iterator[BinaryIO]:
    """Yield a writer whose content goes to target encrypted; memory stays at one chunk.

    Args:
        target: what is written to.
        passphrase: opens it again.
        scrypt_log2_n: what each guess at the passphrase costs; it stands in the file.
    """
    writer = _EncryptingWriter(target, _new_cipher(passphrase, scrypt_log2_n))
    yield cast(BinaryIO, writer)
    writer.finish()


@contextmanager
def opened(path: Path, passphrase: str | None) -> Iterator[BinaryIO]:
    """Open a file for reading, plain or encrypted, and yield its plain bytes.

    Those of an encrypted file are held in memory and never reach the disk. What is yielded is
    seekable and has the path as its name, for the errors of whatever reads it.

    Raises:
        FileNotFoundError: there is no such file.
        EncryptionError: it is encrypted and passphrase is None, or as for `decrypt`.
    """
    with open_regular(path) as file:
        start = file.read(len(MAGIC))
        file.seek(0)
        if start != MAGIC:
            yield file
            return
        if passphrase is None:
            raise EncryptionError(
                f"{path} is encrypted: set encryption_key or DDETR_ENCRYPTION_KEY to read it"
            )
        content = decrypt(file, passphrase, str(path))
    with content:
        yield content


@contextmanager
def model_source(path: Path, passphrase: str | None) -> Iterator[BinaryIO | Path]:
    """Yield what a model is read from: a file as `opened` does, or a folder's own path.

    Raises:
        FileNotFoundError, EncryptionError: as for `opened`.
    """
    if path.is_dir():
        yield path
        return
    with opened(path, passphrase) as file:
        yield file


def decrypt(source: BinaryIO, passphrase: str, name: str) -> io.BytesIO:
    """Read an encrypted file's content into memory.

    Args:
        name: what error texts call the file, and the name of what is returned.

    Raises:
        NotEncryptedError, WrongKeyError, DamagedFileError: as their names say.
    """
    cipher = _read_cipher(source.read(_HEADER_BYTES), passphrase, name)
    from cryptography.exceptions import InvalidTag

    content = _Decrypted(name)
    chunk = source.read(CHUNK_BYTES + _TAG_BYTES)
    number, is_last = 0, False
    while not is_last:
        following = source.read(CHUNK_BYTES + _TAG_BYTES)
        is_last = not following
        try:
            content.write(cipher.aes.decrypt(cipher.nonce(number, is_last), chunk, cipher.header))
        except InvalidTag:
            raise DamagedFileError(
                f"{name} is damaged or cut short: fetch it again or use another copy"
            ) from None
        chunk, number = following, number + 1
    content.seek(0)
    return content


class _Decrypted(io.BytesIO):
    """Content in memory, with the name of the file that it came from."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class _EncryptingWriter(io.RawIOBase):
    def __init__(self, target: BinaryIO, cipher: _Cipher) -> None:
        super().__init__()
        self._target = target
        self._cipher = cipher
        self._pending = bytearray()
        self._number = 0
        target.write(cipher.header)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:
            self._put(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        self._put(bytes(self._pending), is_last=True)

    def _put(self, content: bytes, *, is_last: bool) -> None:
        nonce = self._cipher.nonce(self._number, is_last)
        self._target.write(self._cipher.aes.encrypt(nonce, content, self._cipher.header))
        self._number += 1


def _new_cipher(passphrase: str, log2_n: int) -> _Cipher:
    parameters = (log2_n, _SCRYPT_R, _SCRYPT_P)
    salt, prefix = os.urandom(16), os.urandom(7)
    start = _PARAMETERS.pack(MAGIC, _VERSION, *parameters, salt, prefix)
    aes, check = _derive(passphrase, salt, *parameters)
    return _Cipher(_with_sum(start + check), prefix, aes)


def _read_cipher(header: bytes, passphrase: str, name: str) -> _Cipher:
    if not header.startswith(MAGIC):
        raise NotEncryptedError(f"{name} is not encrypted: read it without encryption_key")
    body = header[:-_SUM_BYTES]
    if len(header) < _HEADER_BYTES or _with_sum(body) != header:
        raise DamagedFileError(f"{name} is damaged: its header does not add up")
    _, version, log2_n, r, p, salt, prefix = _PARAMETERS.unpack(body[:-_CHECK_BYTES])
    if version != _VERSION:
        raise EncryptionError(f"{name} has encryption format {version}, known is {_VERSION}")
    if not (log2_n and r and p) or (128 << log2_n) * r * p > _MOST_SCRYPT_BYTES:
        raise DamagedFileError(f"{name} is damaged: its header asks for unlikely work")
    aes, check = _derive(passphrase, salt, log2_n, r, p)
    if not hmac.compare_digest(check, body[-_CHECK_BYTES:]):
        raise WrongKeyError(f"encryption_key does not open {name}: another one was used, give that")
    return _Cipher(header, prefix, aes)


def _derive(passphrase: str, salt: bytes, log2_n: int, r: int, p: int) -> tuple[AESGCM, bytes]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise EncryptionError(
            "encrypted files need the package cryptography: install ddetr-data[crypto]"
        ) from error
    derived = Scrypt(salt=salt, length=64, n=2**log2_n, r=r, p=p).derive(passphrase.encode())
    return AESGCM(derived[:32]), hashlib.sha256(derived[32:]).digest()[:_CHECK_BYTES]


def _with_sum(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()[:_SUM_BYTES]
