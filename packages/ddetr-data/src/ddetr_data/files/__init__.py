"""Files on this machine: written whole, encrypted, and their digests."""

from ddetr_data.files.atomic import naming, staged, write_whole
from ddetr_data.files.digests import file_digests
from ddetr_data.files.encryption import (
    CHUNK_BYTES,
    DamagedFileError,
    EncryptionError,
    NotEncryptedError,
    WrongKeyError,
    decrypt,
    decrypt_file,
    encrypting,
    is_encrypted,
    model_source,
    opened,
)

__all__ = [
    "CHUNK_BYTES",
    "DamagedFileError",
    "EncryptionError",
    "NotEncryptedError",
    "WrongKeyError",
    "decrypt",
    "decrypt_file",
    "encrypting",
    "file_digests",
    "is_encrypted",
    "model_source",
    "naming",
    "opened",
    "staged",
    "write_whole",
]
