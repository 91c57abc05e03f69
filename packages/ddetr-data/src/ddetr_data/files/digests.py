"""Digests of whole files, several at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ddetr_data.files.regular import open_regular
from ddetr_data.locations import AnyFile, RemoteFile

_BLOCK_BYTES = 2**20
_THREADS = 4


def file_digests(files: Iterable[AnyFile]) -> list[str]:
    """Give 32 hexadecimal digits for the contents of each file.

    Raises:
        OSError, DataError: a file is missing or cannot be read.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_digest, files))


def _digest(path: AnyFile) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(path, RemoteFile):
        digest.update(path.read_bytes())
        return digest.hexdigest()
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
